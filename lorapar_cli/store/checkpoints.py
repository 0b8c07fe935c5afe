"""Checkpoints of training: complete ones are marked, others are never resumed from."""

import json
import shutil
from pathlib import Path

from lorapar_cli.store.atomic import atomic_file, fsync_tree

CHECKPOINTS = "checkpoints"


_COMPLETE = "complete"


def mark_complete(checkpoint: Path) -> None:
    """Marks a checkpoint folder whose every file has been written, and hands it to the disk.

    The mark holds each file's size, by which a file that was cut off later is known.
    """
    fsync_tree(checkpoint)
    sizes = _sizes(checkpoint)
    with atomic_file(checkpoint / _COMPLETE) as file:
        json.dump(sizes, file, indent=2)


def _sizes(checkpoint: Path) -> dict[str, int]:
    files = (path for path in checkpoint.rglob("*") if path.is_file())
    return {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files}


def _is_complete(checkpoint: Path) -> bool:
    try:
        marked = json.loads((checkpoint / _COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return marked.items() <= _sizes(checkpoint).items()


def last_checkpoint(work: Path) -> Path | None:
    """Returns the newest complete checkpoint and removes those that are not.

    A kill leaves a checkpoint half-written or half-removed, a full disk one with a file cut off.
    """
    complete = []
    for path in (work / CHECKPOINTS).glob("checkpoint-*"):
        if _is_complete(path):
            complete.append((int(path.name.rsplit("-", 1)[1]), path))
        else:
            shutil.rmtree(path, ignore_errors=True)
    return max(complete)[1] if complete else None
