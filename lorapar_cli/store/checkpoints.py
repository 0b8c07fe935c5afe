"""Checkpoints of training: complete ones are marked; others are never resumed from."""

import json
import shutil
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact
from lorapar_cli.store.atomic import atomic_file, fsync_tree
from lorapar_cli.store.disk.regular_files import read_json
from lorapar_cli.store.manifest import sha256_file

_COMPLETE = "complete"


def mark_complete(checkpoint: Path) -> None:
    """Flushes a checkpoint folder to the disk and marks it as complete.

    The mark records the sha256 of each file, which reveals any damage that comes later.
    """
    fsync_tree(checkpoint)
    digests = _digests(checkpoint)
    with atomic_file(checkpoint / _COMPLETE) as file:
        json.dump(digests, file, indent=2)


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


def _read_mark(checkpoint: Path) -> Any:
    """Returns what was recorded when the checkpoint was complete, None for one that never was."""
    if not (checkpoint / _COMPLETE).exists():
        return None
    try:
        return read_json(checkpoint / _COMPLETE)
    except LoraparError as cause:
        return str(cause.found)


def _is_intact(checkpoint: Path, mark: Any) -> bool:
    try:
        return bool(_digests(checkpoint) == mark)
    except LoraparError:
        return False


def last_checkpoint(work: Path) -> tuple[Path | None, list[str]]:
    """Returns the newest checkpoint that is complete and intact, and removes newer ones.

    A kill leaves a checkpoint partly written or partly removed, which is no surprise. One that was
    complete and has changed since is named.

    Returns:
        The checkpoint, None where there is none, and a sentence for each damaged one.
    """
    notes: list[str] = []
    found = [path for path in (work / Artifact.CHECKPOINTS).glob("checkpoint-*") if _step(path)]
    for path in sorted(found, key=_step, reverse=True):
        mark = _read_mark(path)
        if mark is not None and _is_intact(path, mark):
            return path, notes
        if mark is not None:
            notes.append(f"checkpoint `{path.name}` was damaged and is not used")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    return None, notes


def _step(checkpoint: Path) -> int:
    """Returns the optimizer step of a checkpoint, 0 for a name that states none."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdecimal() else 0
