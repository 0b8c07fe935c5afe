"""A reward with a spread on a random model, whose completions are never right."""

from collections.abc import Sequence


def length(completions: Sequence[str], references: Sequence[str | None]) -> list[float]:
    """Returns the length of each completion in characters."""
    return [float(len(completion)) for completion in completions]


def half(completions, references):
    """Differs within the groups of every second record of the tests' data only."""
    values = length(completions, references)
    return [
        value if int(answer) % 4 == 1 else 0.5
        for value, answer in zip(values, references, strict=True)
    ]
