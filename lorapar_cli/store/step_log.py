"""Logs of training with one JSON object per line, each of an optimizer step."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.checkpoints import LogState
from lorapar_cli.store.disk.regular_files import open_regular
from lorapar_cli.store.records import to_line


class StepLog:
    """A JSON Lines file that grows with training; a resumed run drops what it will write again.

    Args:
        path: The file.
        resumed: What it held when the checkpoint was saved that training resumes from; None for a
            new run.

    Raises:
        LoraparError: It does not hold that any more.
    """

    def __init__(self, path: Path, resumed: LogState | None = None) -> None:
        self._path = path
        kept = b"" if resumed is None else _read_start(path, resumed)
        self._bytes, self._digest = len(kept), hashlib.sha256(kept)
        if not path.is_file() or path.is_symlink():
            path.unlink(missing_ok=True)
        with atomic_file(path, "wb") as file:
            file.write(kept)

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Appends objects, each with its `step`, and flushes them to the disk.

        Raises:
            LoraparError: Somebody has removed or changed the file in between.
        """
        self.require_intact()
        content = "".join(to_line(line) for line in lines).encode()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        with os.fdopen(descriptor, "ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._bytes += len(content)
        self._digest.update(content)

    def require_intact(self) -> None:
        """Checks that the file is there with all that was written: it is part of the result.

        Raises:
            LoraparError: Somebody has removed or changed it.
        """
        if self._path.is_file() and self._path.stat().st_size == self._bytes:
            return
        raise LoraparError(
            f"`{self._path}` was removed or changed while it was being written",
            hint="run the same command again",
        )

    def state(self) -> LogState:
        """Returns what the file holds by now, for the mark of a checkpoint."""
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}


def _read_start(path: Path, state: LogState) -> bytes:
    """Returns the bytes that a log held in a state."""
    with open_regular(path, "rb") as file:
        content: bytes = file.read(state["bytes"])
    if hashlib.sha256(content).hexdigest() != state["sha256"]:
        raise LoraparError(f"`{path}` is not the log that the checkpoint was saved with")
    return content
