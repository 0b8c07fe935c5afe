"""A person looks at finished evaluations: their samples, and two of them side by side."""
