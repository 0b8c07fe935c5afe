"""The file system: what may be opened, who may work where, and what it refuses."""
