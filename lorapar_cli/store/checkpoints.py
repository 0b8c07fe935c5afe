"""Checkpoints of training: complete ones are marked; others are never resumed from."""

import json
import shutil
from pathlib import Path

from lorapar_cli.names import Artifact
from lorapar_cli.store.atomic import atomic_file, fsync_tree

_COMPLETE = "complete"


def mark_complete(checkpoint: Path) -> None:
    """Flushes a checkpoint folder to the disk and marks it as complete.

    The mark records the size of each file, which reveals files that are truncated later.
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
    """Returns the newest complete checkpoint and removes incomplete ones.

    A kill leaves a checkpoint partly written or partly removed, a full disk one with a truncated
    file.
    """
    complete = []
    for path in (work / Artifact.CHECKPOINTS).glob("checkpoint-*"):
        if _is_complete(path):
            complete.append((int(path.name.rsplit("-", 1)[1]), path))
        else:
            shutil.rmtree(path, ignore_errors=True)
    return max(complete)[1] if complete else None
