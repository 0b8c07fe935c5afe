"""What a model is worth on records, and what its adapter has made it forget."""
