"""What a stage tells while it works; displays decide how it looks. Standard library only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Advance:
    """How far one task has come.

    Attributes:
        task: What is being done, in a few words; a display keeps one line or bar for each.
        done: Number of units that are done.
        total: Number of units in all; None where it is not known.
        figures: Name -> figure of the moment, already formatted: `{"loss": "0.208"}`.
        remark: A few words on the moment, such as why it waits.
    """

    task: str
    done: int = 0
    total: int | None = None
    figures: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True)
class Note:
    """A sentence to read at once."""

    text: str


Event = Advance | Note
Progress = Callable[[Event], None]


def silent(_: Event) -> None:
    """Shows nothing."""
