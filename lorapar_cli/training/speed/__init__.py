"""What changes how a training step is computed and where, and no number beyond rounding."""
