"""Subcommands that read what stages wrote and run nothing."""
