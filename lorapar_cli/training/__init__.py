"""`lorapar train-sft` and `lorapar train-rl`: only active elements are trained."""

# First: it quietens the libraries before any of them is imported.
import lorapar_cli.models  # noqa: F401
