"""Results appear whole or not at all: written next to the target, fsynced, renamed."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.links import real_folder

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def fsync_path(path: Path) -> None:
    """Flushes a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Flushes every file and folder below `folder`, and `folder` itself."""
    for parent, _, files in os.walk(folder):
        for name in files:
            fsync_path(Path(parent) / name)
        fsync_path(Path(parent))


@contextmanager
def atomic_file(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Yields a file that becomes `path` when the block succeeds, and is removed otherwise.

    Raises:
        LoraparError: There is a folder of that name.
    """
    if path.is_dir():
        raise LoraparError(f"`{path}` is a folder, not a file", hint="name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    encoding = None if "b" in mode else "utf-8"
    try:
        with open(
            unfinished, mode, encoding=encoding, newline=None if "b" in mode else "\n"
        ) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        fsync_path(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def exchange(first: Path, second: Path) -> bool:
    """Swaps two paths in one step where the filesystem supports it; returns whether it did."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    done = renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
    return done == 0


def building_folder(target: Path) -> Path:
    """Returns the hidden folder next to `target` in which its next version is built."""
    return target.with_name(f".{target.name}.new")


def _replaced_folder(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def recover(target: Path) -> None:
    """Restores an earlier result that a kill between two renames has left under another name.

    Only needed on filesystems that cannot swap two folders in one step.
    """
    old = _replaced_folder(target)
    if not old.exists():
        return
    if target.exists():
        shutil.rmtree(old)
    else:
        os.rename(old, target)


def publish_folder(built: Path, target: Path) -> None:
    """Renames `built` to `target`, replacing an earlier folder of that name."""
    fsync_tree(built)
    recover(target)
    if not target.exists():
        os.rename(built, target)
    elif exchange(built, target):
        shutil.rmtree(built)
    else:
        old = _replaced_folder(target)
        os.rename(target, old)
        os.rename(built, target)
        shutil.rmtree(old)
    fsync_path(target.parent)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yields an empty folder that replaces `target` when the block succeeds.

    Where `target` is a link, the folder that it leads to is replaced.

    A failed or killed block leaves `target` as it was; the next call removes what a kill left
    behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target = real_folder(target)
    recover(target)
    built = building_folder(target)
    shutil.rmtree(built, ignore_errors=True)
    built.mkdir()
    try:
        yield built
    except BaseException:
        shutil.rmtree(built, ignore_errors=True)
        raise
    publish_folder(built, target)
