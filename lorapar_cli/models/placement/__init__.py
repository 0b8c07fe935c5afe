"""Where a base model lies: on one device, sharded over processes, or divided among GPUs."""
