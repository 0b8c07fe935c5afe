"""What a full disk, a read-only mount or a missing permission looks like, whoever reports it."""

import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lorapar_cli.errors import LoraparError

# Rust's libraries, safetensors and tokenizers among them, end their messages in the number.
_RUST = re.compile(r"\(os error (\d+)\)")
# PyTorch reports any failed write of a checkpoint like this and keeps the number to itself.
_TORCH = re.compile(r"PytorchStreamWriter failed|inline_container\.cc")
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
    return LoraparError(what, os.strerror(number) if number else str(cause), _HINTS.get(number))


def _error_number(cause: BaseException) -> int | None:
    """Returns the system's error number, 0 where only its kind is known, None for other errors."""
    if isinstance(cause, OSError):
        return cause.errno
    text = str(cause)
    if isinstance(cause, sqlite3.OperationalError):
        return next((number for words, number in _SQLITE.items() if words in text), None)
    if found := _RUST.search(text):
        return int(found[1])
    return 0 if _TORCH.search(text) else None
