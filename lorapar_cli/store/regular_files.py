"""Files that are read as a whole or opened: regular ones, so that nothing hangs or never ends."""

import json
import os
import stat
from pathlib import Path
from typing import IO, Any

from lorapar_cli.errors import LoraparError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: Path, mode: str = "r", **options: Any) -> IO[Any]:
    """Opens a file for reading; without `options` text is UTF-8.

    Raises:
        LoraparError: It is missing, cannot be read, or is not a regular file. A named pipe is
            refused without waiting for its writer.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as cause:
        raise LoraparError(f"no such file: `{path}`") from cause
    except (OSError, ValueError) as cause:
        raise LoraparError(f"cannot read `{path}`", _reason(cause)) from cause
    kind = kind_of(os.fstat(descriptor).st_mode)
    if kind is not None:
        os.close(descriptor)
        raise LoraparError(f"`{path}` is not a file", f"it is {kind}")
    os.set_blocking(descriptor, True)
    if "b" not in mode:
        options = {"encoding": "utf-8"} | options
    return os.fdopen(descriptor, mode, **options)


def kind_of(mode: int) -> str | None:
    """Returns what a `st_mode` stands for, None for a regular file."""
    if stat.S_ISREG(mode):
        return None
    return next((words for test, words in _KINDS if test(mode)), "something else")


def require_regular(path: Path) -> None:
    """Checks a file that a library is about to open by its name.

    Raises:
        LoraparError: As `open_regular`.
    """
    open_regular(path, "rb").close()


def read_text(path: Path) -> str:
    """Returns a UTF-8 file's text.

    Raises:
        LoraparError: As `open_regular`, or it is not UTF-8.
    """
    try:
        with open_regular(path) as file:
            text: str = file.read()
            return text
    except UnicodeDecodeError as cause:
        raise LoraparError(f"`{path}` is not UTF-8 text", str(cause)) from cause
    except (OSError, MemoryError) as cause:
        raise LoraparError(f"cannot read `{path}`", _reason(cause)) from cause


def read_json(path: Path) -> Any:
    """Returns a file's JSON value.

    Raises:
        LoraparError: As `read_text`, or it is not valid JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as cause:
        raise LoraparError(f"`{path}` is not valid JSON", describe_json_error(cause)) from cause


def describe_json_error(cause: Exception) -> str:
    """Returns why a text is not JSON, in a few words."""
    return "it is nested too deeply" if isinstance(cause, RecursionError) else str(cause)


def _reason(cause: BaseException) -> str:
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
