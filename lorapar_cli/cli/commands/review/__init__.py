"""Subcommands of `lorapar eval`: they read what it wrote and run nothing."""
