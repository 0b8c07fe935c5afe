"""Runs programs that a model wrote, held by the system."""
