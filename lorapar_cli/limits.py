"""Limits of numbers in options: beyond them, a number can only be a mistake.

They lie far above what anybody runs; without them, `--epochs 1e300` would begin to train. Standard
library only.
"""

MOST_EPOCHS = 10_000
MOST_STEPS = 1_000_000_000
MOST_RECORDS = 1_000_000_000
LARGEST_BATCH = 2**20
"""Also of the completions of a prompt, and of accumulated batches."""
MOST_TOKENS = 2**24
"""Of a record, a prompt or a completion; contexts of models end before."""
LARGEST_RATE = 1_000.0
"""Of `--movement-rate`, weight decay and weights of a loss."""
LARGEST_TEMPERATURE = 100.0
"""Tokens are drawn all but evenly long before."""
LARGEST_TIMEOUT = 604_800.0
"""Seconds; a week."""
MOST_TRIES = 1_000
MOST_REQUESTS = 10_000
"""At the same time; each takes a thread's or a connection's memory."""
LARGEST_NUMBER = 1e15
"""Of any whole number: above it, they are not exact in JSON for every reader."""
LARGEST_SEED = 2**32 - 1
"""Of all the generators that take a seed, NumPy's takes the fewest."""
MOST_SEEDS = 1_000
"""Trainings of one cell that a comparison or a sweep may be asked for."""
MOST_JOBS = 256
"""Processes that a comparison or a sweep may be asked to start."""
LARGEST_CODE_TIMEOUT = 86_400.0
LARGEST_CODE_MEMORY = 2**24
"""Above them, the kernel takes no such limits, and every program of a model would count as wrong."""
LARGEST_RANK = 2**16
"""Of a LoRA adapter."""
LEAST_TEMPERATURE = 0.01
"""Below it, logits divided by the temperature leave the range of half precision."""
