"""`lorapar eval`: accuracy of the base model and of every adapter."""

# First: it quietens the libraries before any of them is imported.
import lorapar_cli.models  # noqa: F401
