"""Runs programs that a model wrote, confined by the kernel."""
