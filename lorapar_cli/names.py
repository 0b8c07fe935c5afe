"""The vocabulary that files on disk and options share; standard library only."""

from collections.abc import Callable
from enum import IntFlag, StrEnum

SCHEMA_VERSION = 1
EMBEDDED = "embedded"


class System(StrEnum):
    """A record's label: fast one-step answers or multi-step reasoning."""

    SYSTEM1 = "system1"
    SYSTEM2 = "system2"


class Stage(StrEnum):
    """The stages in pipeline order, named after their subcommands and folders."""

    CLASSIFY = "classify"
    SCORE = "score"
    PARTITION = "partition"
    TRAIN_SFT = "train-sft"
    TRAIN_RL = "train-rl"
    EVAL = "eval"


class Flag(IntFlag):
    """The bits of one element in `mask.safetensors`; a set bit always means selected or active."""

    TOP1 = 1
    TOP2 = 2
    SFT = 4
    RL = 8


class Region(StrEnum):
    """Where an element lies; the value's position is `flags & 3`."""

    UNSELECTED = "unselected"
    S1_ONLY = "s1_only"
    S2_ONLY = "s2_only"
    SHARED = "shared"


TARGET_MODULES = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "down_proj")

Progress = Callable[[str, int, int | None], None]
"""How a stage tells what it is doing: label, number done, total (None where unknown).

A label that begins with `NOTE` is a line to read, not a thing in progress.
"""
NOTE = "note: "


def silent(label: str, done: int, total: int | None) -> None:
    """A progress display that shows nothing."""
