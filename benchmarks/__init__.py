"""Measured figures: `python -m benchmarks` prints them with the machine they come from."""
