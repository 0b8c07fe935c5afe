"""Completions that a server writes while this process trains: asynchronous GRPO."""
