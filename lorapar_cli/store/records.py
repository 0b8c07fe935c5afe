"""JSON Lines: labelled records and all other artifacts with one object per line."""

import codecs
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.disk.json_keys import DECODER, RepeatedKey
from lorapar_cli.store.disk.regular_files import describe_json_error, open_regular

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

Message = dict[str, Any]
"""`role` and `content`, both text; also `tool_calls`, and of a tool `tool_call_id` and `name`."""


@dataclass
class Record:
    """One line of labels.jsonl, system1.jsonl, system2.jsonl or heldout.jsonl.

    Attributes:
        prompt: The model's input: text, or a list of chat messages where the source has more than
            one message before the completion.
        completion: The expected answer; the only part that contributes to the loss.
        reference_answer: The final answer, None where none can be extracted.
        reference_answers: All accepted answers where there are several, `reference_answer` first;
            else empty, and not written.
        tools: Definitions of the tools that the model may call, as chat templates take them; not
            written where there are none.
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
    reference_answers: list[str] = field(default_factory=list)
    tools: list[dict[str, Any]] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def accepted_answers(self) -> list[str]:
        """Every answer that counts as right; empty where none is known."""
        if self.reference_answers:
            return self.reference_answers
        return [] if self.reference_answer is None else [self.reference_answer]

    def accepted_by(self, match: str) -> list[str]:
        """Returns every answer that counts as right by a rule of grading; empty where none is known."""
        if match != "exact":
            return self.accepted_answers
        # One reference is often only the end of the completion; several are ways to say all of it.
        several = [answer.strip() for answer in self.reference_answers]
        return list(dict.fromkeys([self.completion.strip(), *several]))

    def to_json(self) -> dict[str, Any]:
        """Returns the line's object: own fields first, then extra fields."""
        own = {key: getattr(self, key) for key in RECORD_FIELDS}
        own |= {key: value for key in OPTIONAL_FIELDS if (value := getattr(self, key))}
        return own | {key: value for key, value in self.extra.items() if key not in own}

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> "Record":
        """Returns the record of a line's object.

        Raises:
            ValueError: A required field is missing, or one has a value that cannot be used.
        """
        for key in ("id", "prompt", "completion"):
            if key not in line:
                raise ValueError(f"field `{key}` is missing")
        for key, (is_valid, wanted) in _VALID.items():
            if key in line and not is_valid(line[key]):
                raise ValueError(f"field `{key}` is not {wanted}: {line[key]!r:.80}")
        known = (*RECORD_FIELDS, *OPTIONAL_FIELDS)
        own = {key: line[key] for key in known if key in line}
        if own.get("label") is not None:
            own["label"] = System(own["label"])
        extra = {key: value for key, value in line.items() if key not in known}
        return cls(**(own | {"id": str(line["id"]), "extra": extra}))


RECORD_FIELDS = ("id", "prompt", "completion", "reference_answer", "label", "votes", "agreement")
OPTIONAL_FIELDS = ("reference_answers", "tools")
"""Fields that only those lines have whose record needs them."""


def _is_number(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or _is_finite(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _is_share(value: Any) -> bool:
    return value is None or (_is_number(value) and 0 <= value <= 1)


def _is_chat(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(message, dict)
            and isinstance(message.get("role"), str)
            and isinstance(message.get("content"), str)
            for message in value
        )
    )


def _is_vote(value: Any) -> bool:
    return value is None or value in tuple(System)


def _are_votes(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_vote(vote) for vote in value.values())


def _is_list_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(isinstance(each, kind) for each in value)


_VALID: dict[str, tuple[Callable[[Any], bool], str]] = {
    "id": (lambda value: isinstance(value, str) or _is_number(value), "text or a number"),
    "prompt": (
        lambda value: isinstance(value, str) or _is_chat(value),
        "text or a list of messages",
    ),
    "completion": (lambda value: isinstance(value, str), "text"),
    "reference_answer": (lambda value: value is None or isinstance(value, str), "text or null"),
    "label": (_is_vote, "`system1`, `system2` or null"),
    "votes": (_are_votes, "an object of labels"),
    "agreement": (_is_share, "a number from 0 to 1 or null"),
    "reference_answers": (_is_list_of(str), "a list of texts"),
    "tools": (lambda value: value is None or _is_list_of(dict)(value), "a list of objects"),
}


def read_jsonl(path: Path, *, half_pairs: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields line number (from 1) and object of each non-empty line.

    Args:
        half_pairs: Whether text may have half a surrogate pair, as what a model wrote may.

    Raises:
        LoraparError: The file is not a regular one or cannot be read, or a line is not a JSON
            object; the message names file and line.
    """
    with open_regular(path, "rb") as file:
        for number, line in enumerate(file, 1):
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not text.strip():
                continue
            try:
                decoded = text.decode()
            except UnicodeDecodeError as cause:
                raise LoraparError(f"`{path}:{number}` is not UTF-8 text", str(cause)) from cause
            yield number, parse_line(decoded, path, number, half_pairs=half_pairs)


def parse_line(line: str, path: Path, number: int, *, half_pairs: bool = False) -> dict[str, Any]:
    """Returns one line's JSON object.

    Args:
        half_pairs: As `read_jsonl` takes it.

    Raises:
        LoraparError: The line is not a JSON object; the message names file and line.
    """
    try:
        value = DECODER.decode(line)
        # Half a surrogate pair, which only an escape can spell, is no text that can be written.
        if not half_pairs and _SURROGATE.search(line):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as cause:
        raise LoraparError(
            f"`{path}:{number}` is not valid text", "it contains half a surrogate pair"
        ) from cause
    except RepeatedKey as cause:
        raise LoraparError(f"`{path}:{number}` names a key twice", str(cause)) from cause
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
        except ValueError as cause:
            raise LoraparError(
                f"`{path}:{number}` is not a labelled record",
                str(cause),
                "labelled records come from `lorapar classify`",
            ) from cause
    return records


def to_line(value: Mapping[str, Any]) -> str:
    """Returns an object as one line, newline included.

    Half a surrogate pair, which a text from outside may have, is not UTF-8: it stands as an escape.
    """
    line = json.dumps(value, ensure_ascii=False) + "\n"
    try:
        line.encode()
    except UnicodeEncodeError:
        return json.dumps(value) + "\n"
    return line


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
