"""Configurations to begin with: those of `sample_configs/`, which `make docs` copies here."""
