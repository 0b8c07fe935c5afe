"""The commands: typer for input, rich for output, one thin file a subcommand."""
