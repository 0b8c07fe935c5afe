"""JSON Lines: labelled records and all other artifacts with one object per line."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.disk.regular_files import describe_json_error, open_regular

Message = dict[str, str]


@dataclass
class Record:
    """One line of labels.jsonl, system1.jsonl, system2.jsonl or heldout.jsonl.

    Attributes:
        prompt: The model's input: text, or a list of chat messages where the source has more than
            one message before the completion.
        completion: The expected answer; the only part that contributes to the loss.
        reference_answer: The final answer, None where none can be extracted.
        votes: Teacher name -> its label, None where it gave no vote.
        agreement: Share of the votes cast that the label has, 0 to 1; None without votes.
        extra: Further fields of the source, unchanged.
    """

    id: str
    prompt: str | list[Message]
    completion: str
    reference_answer: str | None = None
    label: System | None = None
    votes: dict[str, System | None] = field(default_factory=dict)
    agreement: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the line's object: own fields first, then extra fields."""
        own = {key: getattr(self, key) for key in RECORD_FIELDS}
        return own | {key: value for key, value in self.extra.items() if key not in own}

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> "Record":
        """Returns the record of a line's object.

        Raises:
            KeyError, ValueError: A required field is missing or the label is unknown.
        """
        own = {key: line[key] for key in RECORD_FIELDS if key in line}
        if own.get("label") is not None:
            own["label"] = System(own["label"])
        extra = {key: value for key, value in line.items() if key not in RECORD_FIELDS}
        return cls(**(own | {"id": str(line["id"]), "extra": extra}))


RECORD_FIELDS = ("id", "prompt", "completion", "reference_answer", "label", "votes", "agreement")


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields line number (from 1) and object of each non-empty line.

    Raises:
        LoraparError: The file cannot be read, or a line is not a JSON object; the message names
            file and line.
    """
    try:
        with open_regular(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, parse_line(line, path, number)
    except OSError as cause:
        raise LoraparError(f"cannot read `{path}`", cause.strerror) from cause
    except UnicodeDecodeError as cause:
        raise LoraparError(f"`{path}` is not UTF-8 text", str(cause)) from cause


def parse_line(line: str, path: Path, number: int) -> dict[str, Any]:
    """Returns one line's JSON object.

    Raises:
        LoraparError: The line is not a JSON object; the message names file and line.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as cause:
        raise LoraparError(
            f"`{path}:{number}` is not valid JSON",
            f"{describe_json_error(cause)}, in {line.strip()[:80]!r}",
        ) from cause
    if not isinstance(value, dict):
        raise LoraparError(
            f"`{path}:{number}` is not a JSON object", f"{type(value).__name__}: {line[:80]!r}"
        )
    return value


def read_records(path: Path) -> list[Record]:
    """Returns the labelled records of a file that `classify` wrote or that has its fields.

    Raises:
        LoraparError: The file cannot be read, or a line is not a labelled record.
    """
    records = []
    for number, line in read_jsonl(path):
        try:
            records.append(Record.from_json(line))
        except (KeyError, ValueError, TypeError) as cause:
            raise LoraparError(
                f"`{path}:{number}` is not a labelled record",
                f"{type(cause).__name__}: {cause}",
                "labelled records come from `lorapar classify`",
            ) from cause
    return records


def to_line(value: Mapping[str, Any]) -> str:
    """Returns an object as one line, newline included."""
    return json.dumps(value, ensure_ascii=False) + "\n"


def write_jsonl(path: Path, lines: Iterable[Mapping[str, Any]]) -> int:
    """Writes objects as lines, atomically; returns their number."""
    count = 0
    with atomic_file(path) as file:
        for line in lines:
            file.write(to_line(line))
            count += 1
    return count


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Writes labelled records as lines, atomically; returns their number."""
    return write_jsonl(path, (record.to_json() for record in records))


def count_systems(records: Iterable[Record]) -> dict[str, int]:
    """Returns system -> number of records with that label."""
    counts = {system.value: 0 for system in System}
    for record in records:
        if record.label is not None:
            counts[record.label] += 1
    return counts
