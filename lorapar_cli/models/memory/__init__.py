"""The memory that a stage needs, estimated before weights are loaded."""
