"""Tasks of lm-evaluation-harness by name (extra `harness`): its data, prompts and metrics."""
