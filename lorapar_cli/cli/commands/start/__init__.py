"""Commands that begin a run: a configuration is listed, chosen and written."""
