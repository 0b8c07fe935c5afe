"""A file of JSON lines of any size: its fields, their values and ranges, read line by line."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict, final

from lorapar_cli.finite import is_finite
from lorapar_cli.names import Artifact, System, split_file
from lorapar_cli.store.disk.regular_files import open_regular
from lorapar_cli.store.records import read_jsonl
from lorapar_cli.store.verify import check_written

Kind = Literal[
    "records",
    "votes",
    "disagreements",
    "metrics",
    "completions",
    "samples",
    "replay",
    "learning rates",
    "pass rates",
    "refill",
    "lines",
]
_KINDS: dict[str, Kind] = {
    Artifact.LABELS: "records",
    Artifact.HELD_OUT: "records",
    Artifact.DROPPED: "records",
    **{split_file(system): "records" for system in System},
    Artifact.VOTES: "votes",
    Artifact.DISAGREEMENTS: "disagreements",
    Artifact.METRICS: "metrics",
    Artifact.COMPLETIONS: "completions",
    Artifact.SAMPLES: "samples",
    Artifact.REPLAY: "replay",
    Artifact.LEARNING_RATES: "learning rates",
    Artifact.PASS_RATES: "pass rates",
    Artifact.REFILL: "refill",
}
# Of a field with more of them, or longer ones, only their number is told.
_MOST_VALUES = 12
_LONGEST_VALUE = 40
_DEEPEST = 2
# Of a sum: 2**64 lines of the largest number have a finite one.
_SCALE = 64


class FieldReport(TypedDict):
    """One field of the lines; a field of an object in a line is named `votes.gpt4o`.

    Keys:
        lines: Number of lines that have it, null among them.
        null: Number of lines in which it is null.
        values: Value -> number of lines, of a field with few short values; else None.
        least, mean, most: Of its numbers; None where it has none.
    """

    lines: int
    null: int
    values: dict[str, int] | None
    least: float | None
    mean: float | None
    most: float | None


@final
class LinesReport(TypedDict):
    """A file of JSON lines."""

    path: str
    kind: Kind
    bytes: int
    lines: int
    fields: dict[str, FieldReport]
    first: dict[str, Any] | None


@dataclass
class _Field:
    lines: int = 0
    null: int = 0
    values: dict[str, int] | None = field(default_factory=dict)
    numbers: int = 0
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf

    def add(self, value: Any) -> None:
        self.lines += 1
        if value is None:
            self.null += 1
        elif isinstance(value, bool | str):
            self._count(str(value) if isinstance(value, str) else str(value).lower())
        elif isinstance(value, int | float):
            self.values = None
            if is_finite(value):
                self.numbers += 1
                # Scaled by a power of two, so that the sum of finite numbers is finite and exact.
                self.total += math.ldexp(value, -_SCALE)
                self.least, self.most = min(self.least, value), max(self.most, value)
        else:
            self.values = None

    def _count(self, value: str) -> None:
        if self.values is None:
            return
        if len(value) > _LONGEST_VALUE:
            self.values = None
            return
        self.values[value] = self.values.get(value, 0) + 1
        if len(self.values) > _MOST_VALUES:
            self.values = None

    def report(self) -> FieldReport:
        some = self.numbers > 0
        return {
            "lines": self.lines,
            "null": self.null,
            "values": self.values or None,
            "least": self.least if some else None,
            "mean": math.ldexp(self.total / self.numbers, _SCALE) if some else None,
            "most": self.most if some else None,
        }


def inspect_lines(path: Path) -> LinesReport:
    """Returns what the lines of a file have in common, whatever they are.

    Raises:
        LoraparError: It is not what its stage wrote, or a line is not a JSON object.
    """
    check_written(path)
    fields: dict[str, _Field] = {}
    lines, first = 0, None
    for _, content in read_jsonl(path, half_pairs=True):
        lines += 1
        first = content if first is None else first
        _add(fields, content, "", _DEEPEST)
    with open_regular(path, "rb") as file:
        size = file.seek(0, 2)
    return {
        "path": str(path),
        "kind": _KINDS.get(path.name, "lines"),
        "bytes": size,
        "lines": lines,
        "fields": {name: each.report() for name, each in fields.items()},
        "first": first,
    }


def _add(fields: dict[str, _Field], content: dict[str, Any], prefix: str, deep: int) -> None:
    for key, value in content.items():
        if isinstance(value, dict) and deep > 1:
            _add(fields, value, f"{prefix}{key}.", deep - 1)
        else:
            fields.setdefault(f"{prefix}{key}", _Field()).add(value)
