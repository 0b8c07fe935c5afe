"""The only readers and writers of artifacts on disk; imports no torch."""
