"""What a full disk, a read-only mount or a missing permission looks like, whoever reports it."""

import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lorapar_cli.errors import LoraparError

# Rust's libraries, safetensors and tokenizers among them, state the number like this.
_RUST = re.compile(r"\(os error (\d+)\)|\bOs \{ code: (\d+),")
# PyTorch and C++ report any failed write like this and keep the number to themselves.
_NUMBERLESS = re.compile(
    r"PytorchStreamWriter failed|inline_container\.cc|iostream error|basic_ios::clear"
)
_PROBE_BYTES = 1 << 20
_SQLITE = {
    "database or disk is full": errno.ENOSPC,
    "disk I/O error": errno.EIO,
    "attempt to write a readonly database": errno.EROFS,
    "unable to open database file": errno.EACCES,
}
_HINTS = {
    errno.ENOSPC: "make room and run the same command again",
    errno.EDQUOT: "make room within the quota and run the same command again",
    errno.EROFS: "choose a place that can be written to, with `--run-dir`",
    errno.EACCES: "grant the permission, or choose another place with `--run-dir`",
    errno.EPERM: "grant the permission, or choose another place with `--run-dir`",
    errno.ENOENT: "it was there when the command started; run the same command again",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EEXIST: "a file is where a folder is needed; choose another place with `--run-dir`",
    errno.ENOTDIR: "a file is where a folder is needed; choose another place with `--run-dir`",
}


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns what the file system refuses inside the block into an expected error.

    Args:
        folder: Named where the error itself names no path.

    Raises:
        LoraparError: Says path, cause, and what to do.
    """
    try:
        yield
    except LoraparError:
        raise
    except Exception as cause:
        if (error := as_expected(cause, folder)) is None:
            raise
        raise error from cause


def as_expected(cause: BaseException, folder: Path | None = None) -> LoraparError | None:
    """Returns the expected error that an exception of the file system stands for, else None."""
    number = _error_number(cause)
    if number is None:
        return None
    path = getattr(cause, "filename", None)
    named = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else folder
    what = "the file system refuses" if named is None else f"cannot read or write `{named}`"
    if number == 0 and folder is not None:
        number = _probe(folder)
    found = os.strerror(number) if number else f"a write failed: {cause}"
    return LoraparError(what, found, _HINTS.get(number))


def _error_number(cause: BaseException) -> int | None:
    """Returns the system's error number, 0 where only its kind is known, None for other errors."""
    if isinstance(cause, OSError):
        return cause.errno
    text = str(cause)
    if isinstance(cause, sqlite3.OperationalError):
        return next((number for words, number in _SQLITE.items() if words in text), None)
    if found := _RUST.search(text):
        return int(found[1] or found[2])
    return 0 if _NUMBERLESS.search(text) else None


def _probe(folder: Path) -> int:
    """Returns the number of the error that a write of 1 MiB into a folder meets now, 0 for none.

    The library whose write failed has left what it had written, so a full disk is still full.
    """
    place = next((each for each in (folder, *folder.parents) if each.is_dir()), None)
    if place is None:
        return errno.ENOENT
    path = place / f".probe.{os.getpid()}.tmp"
    try:
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, _PROBE_BYTES)
    except OSError as refusal:
        return refusal.errno or 0
    finally:
        with suppress(OSError):
            path.unlink()
    return 0
