"""What a stage tells while it works; displays decide how it looks. Standard library only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Advance:
    """How far one task has come.

    Attributes:
        task: What is being done, in a few words; a display keeps one line or bar for each.
        done: Number of units that are done.
        total: Number of units in all; None where it is not known.
        figures: Figures of the moment, each ready to read: `("loss 0.208", "12.3/s")`.
        remark: A few words on the moment, such as why it waits.
        course: Latest values of the first figure, for a display to draw.
    """

    task: str
    done: int = 0
    total: int | None = None
    figures: Sequence[str] = ()
    remark: str = ""
    course: Sequence[float] = ()


@dataclass(frozen=True)
class Note:
    """A sentence to read at once."""

    text: str


@dataclass(frozen=True)
class TokenView:
    """Records as their tokens, for a user who asked to see them.

    Attributes:
        records: Each record's tokens in order: text, and whether the token contributes to the loss.
    """

    records: Sequence[Sequence[tuple[str, bool]]]


Event = Advance | Note | TokenView
Progress = Callable[[Event], None]


def silent(_: Event) -> None:
    """Shows nothing."""
