"""One thin file a subcommand: read, validate, call, print."""
