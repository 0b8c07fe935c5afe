"""What a training stage measures besides its steps: forgetting, and a validation part."""
