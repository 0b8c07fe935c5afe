"""What models are evaluated on: one file per task."""
