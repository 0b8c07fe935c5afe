"""Files that are read as a whole or opened: regular ones, so that nothing hangs or never ends."""

import errno
import json
import os
import shutil
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


# A path of which a part is missing, or is a file where a folder should be.
_ABSENT = {errno.ENOENT, errno.ENOTDIR}


class UnreadableError(LoraparError):
    """A file is there, or may be, and the system does not let it be read."""


def exists(path: Path) -> bool:
    """Returns whether a path is there, as a link that leads nowhere is, too.

    Raises:
        UnreadableError: The folder around it cannot be looked into.
    """
    try:
        os.lstat(path)
    except ValueError:
        return False  # No file system can have it: it holds a NUL, or what no encoding has.
    except OSError as cause:
        if cause.errno in _ABSENT:
            return False
        raise UnreadableError(f"cannot read `{path}`", _reason(cause), _hint(cause)) from cause
    return True


def open_regular(path: Path, mode: str = "r", **options: Any) -> IO[Any]:
    """Opens a file for reading; without `options` text is UTF-8.

    Raises:
        LoraparError: It is missing or not a regular file. A named pipe is refused without waiting
            for its writer.
        UnreadableError: It may not or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as cause:
        raise LoraparError(f"cannot read `{path}`", _reason(cause)) from cause
    except OSError as cause:
        raise _refused(path, cause) from cause
    kind = kind_of(os.fstat(descriptor).st_mode)
    if kind is not None:
        os.close(descriptor)
        raise LoraparError(f"`{path}` is not a file", f"it is {kind}")
    os.set_blocking(descriptor, True)
    if "b" not in mode:
        options = {"encoding": "utf-8"} | options
    return os.fdopen(descriptor, mode, **options)


def _refused(path: Path, cause: OSError) -> LoraparError:
    """Returns why a path cannot be opened: not there, a link in vain, or forbidden."""
    if cause.errno == errno.ELOOP:
        return LoraparError(f"`{path}` is not a file", "it is a link that leads back to itself")
    if cause.errno not in _ABSENT:
        return UnreadableError(f"cannot read `{path}`", _reason(cause), _hint(cause))
    if path.is_symlink():
        return LoraparError(
            f"`{path}` is not a file",
            f"it is a link to `{os.readlink(path)}`, which does not exist",
        )
    return LoraparError(f"no such file: `{path}`")


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


def remove(path: Path) -> None:
    """Removes whatever has this name, a folder with all that it holds; nothing if nothing has."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
        raise UnreadableError(f"cannot read `{path}`", _reason(cause)) from cause


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


def _hint(cause: OSError) -> str | None:
    if cause.errno in (errno.EACCES, errno.EPERM):
        return "grant this user the permission to read it"
    return None
