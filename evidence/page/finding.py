"""A sentence that the results say."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One sentence.

    Attributes:
        negative: Whether it speaks against the method or a recipe of ours.
    """

    text: str
    negative: bool


def in_words(names: Sequence[str]) -> str:
    """Returns a list as in a sentence."""
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)
