"""A reward with a spread on a random model, whose completions are never right."""

from collections.abc import Sequence


def length(completions: Sequence[str], references: Sequence[str | None]) -> list[float]:
    """Returns the length of each completion in characters."""
    return [float(len(completion)) for completion in completions]
