"""Checkpoints of training: complete ones are marked; others are never resumed from."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact
from lorapar_cli.store.atomic import atomic_file, fsync_tree
from lorapar_cli.store.disk.digests import sha256_file
from lorapar_cli.store.disk.regular_files import (
    UnreadableError,
    exists,
    open_regular,
    read_json,
    remove,
)

_COMPLETE = "complete"
_BLOCK = 1 << 20


class LogState(TypedDict):
    """What a log of training held at some moment: its length and the sha256 of that much of it."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Mark:
    """What is recorded of a checkpoint when it is complete.

    Attributes:
        belongs_to: Digest of the settings and inputs of its run.
        files: Path in the checkpoint -> sha256.
        logs: Name of each log next to the checkpoints -> what it held.
    """

    belongs_to: str
    files: dict[str, str]
    logs: dict[str, LogState]


def mark_complete(checkpoint: Path, belongs_to: str, logs: Mapping[str, LogState]) -> None:
    """Flushes a checkpoint folder to the disk and marks it as complete.

    The mark reveals any damage that comes later.

    Args:
        belongs_to: Digest of the settings and inputs of the run.
        logs: Name of each log in the working folder -> what it holds.
    """
    fsync_tree(checkpoint)
    content = {"belongs_to": belongs_to, "files": _digests(checkpoint), "logs": dict(logs)}
    with atomic_file(checkpoint / _COMPLETE) as file:
        json.dump(content, file, indent=2)


def _digests(checkpoint: Path) -> dict[str, str]:
    """Returns path -> sha256 of every entry but the mark.

    Raises:
        LoraparError: One is not a regular file.
    """
    return {
        path.relative_to(checkpoint).as_posix(): sha256_file(path)
        for path in checkpoint.rglob("*")
        if path != checkpoint / _COMPLETE and (path.is_symlink() or not path.is_dir())
    }


def read_mark(checkpoint: Path) -> Mark:
    """Returns what was recorded when a checkpoint was complete.

    Raises:
        LoraparError: The mark is missing or damaged.
    """
    path = checkpoint / _COMPLETE
    content: Any = read_json(path)
    try:
        return Mark(
            str(content["belongs_to"]),
            {str(name): str(digest) for name, digest in content["files"].items()},
            {
                str(name): {"bytes": int(state["bytes"]), "sha256": str(state["sha256"])}
                for name, state in content["logs"].items()
            },
        )
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as cause:
        raise LoraparError(f"`{path}` is damaged", f"{type(cause).__name__}: {cause}") from cause


def _find_problem(checkpoint: Path, belongs_to: str) -> str | None:
    """Returns why a checkpoint with a mark is not used, None where its own files are right."""
    try:
        mark = read_mark(checkpoint)
        if mark.belongs_to != belongs_to:
            return "belongs to another run"
        return None if _digests(checkpoint) == mark.files else "was damaged"
    except UnreadableError:
        raise
    except LoraparError:
        return "was damaged"


def _find_damaged_log(checkpoint: Path) -> Path | None:
    """Returns a log that no longer begins with what it held when the checkpoint was saved."""
    for name, state in read_mark(checkpoint).logs.items():
        path = checkpoint.parent.parent / name
        if not _starts_as(path, state):
            return path
    return None


def _starts_as(path: Path, state: LogState) -> bool:
    digest, left = hashlib.sha256(), state["bytes"]
    try:
        with open_regular(path, "rb") as file:
            while left > 0 and (block := file.read(min(left, _BLOCK))):
                digest.update(block)
                left -= len(block)
    except UnreadableError:
        raise
    except LoraparError:
        return False
    return left == 0 and digest.hexdigest() == state["sha256"]


def _newest_first(work: Path) -> list[Path]:
    found = [path for path in (work / Artifact.CHECKPOINTS).glob("checkpoint-*") if _step(path)]
    return sorted(found, key=_step, reverse=True)


def _step(checkpoint: Path) -> int:
    """Returns the optimizer step of a checkpoint, 0 for a name that states none."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdecimal() else 0


def has_checkpoint(work: Path, belongs_to: str | None = None) -> bool:
    """Returns whether there is a checkpoint that was complete.

    Args:
        belongs_to: Digest of the settings and inputs of the run that it must be an intact one of;
            None for a checkpoint of any run.
    """
    return any(
        exists(path / _COMPLETE) and (belongs_to is None or _find_problem(path, belongs_to) is None)
        for path in _newest_first(work)
    )


def last_checkpoint(work: Path, belongs_to: str) -> tuple[Path | None, list[str]]:
    """Returns the newest checkpoint that a run can resume from, and removes newer ones.

    A kill leaves a checkpoint partly written or partly removed, which is no surprise. One that was
    complete and has changed since, or is of another run, is named.

    Args:
        belongs_to: Digest of the settings and inputs of the run.

    Returns:
        The checkpoint, None where there is none, and a sentence for each that is not used.

    Raises:
        LoraparError: A log next to the checkpoints was damaged and an intact one needs it.
    """
    notes: list[str] = []
    unused: list[Path] = []
    damaged_log = found = None
    for path in _newest_first(work):
        problem = _find_problem(path, belongs_to) if exists(path / _COMPLETE) else ""
        if problem is None and (log := _find_damaged_log(path)) is not None:
            damaged_log, problem = log, f"needs `{log.name}`, which was damaged,"
        if problem is None:
            found = path
            break
        unused.append(path)
        if problem:
            notes.append(f"checkpoint `{path.name}` {problem} and is not used")
    if found is None and damaged_log is not None:
        raise LoraparError(
            f"`{damaged_log}` was damaged",
            "the unfinished run cannot be resumed without the lines that it held",
            f"restore it, or remove `{work / Artifact.CHECKPOINTS}` to start over",
        )
    for path in unused:
        remove(path)
    return found, notes
