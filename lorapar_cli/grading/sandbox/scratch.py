"""The folder that a confined program may write to where bubblewrap does not make it one."""

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BYTES_PER_ENTRY = 4096


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Makes an empty folder and removes it, with whatever a program left in it."""
    folder = Path(tempfile.mkdtemp(prefix="lorapar-program-"))
    try:
        yield folder
    finally:
        remove_tree(folder)


def folder_size(folder: Path, enough: int) -> int:
    """Returns the bytes on disk of a folder that another process may be changing.

    Args:
        enough: Count no further than this; an entry counts as 4 KiB at least.
    """
    total, pending = 0, [str(folder)]
    while pending and total <= enough:
        path = pending.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    size = entry.stat(follow_symlinks=False).st_blocks * 512
                    total += max(size, _BYTES_PER_ENTRY)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except FileNotFoundError:
            continue  # Removed meanwhile.
        except OSError:
            return enough + 1  # A path that is longer than the system takes.
    return total


def remove_tree(folder: Path) -> None:
    """Removes a folder of any depth: folders are moved up before they are removed.

    No process may be writing to it.
    """
    numbers = itertools.count()
    pending = [folder]
    while pending:
        inside = pending.pop()
        for entry in list(os.scandir(inside)):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            raised = folder / f".removed-{next(numbers)}"
            os.rename(entry.path, raised)
            pending.append(raised)
        if inside != folder:
            os.rmdir(inside)
    os.rmdir(folder)
