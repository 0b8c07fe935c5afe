"""Pictures of partitions and of training; needs the extra `plot`."""
