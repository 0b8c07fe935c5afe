"""Journals: JSON Lines files from which an interrupted command goes on without repeating work."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.regular_files import UnreadableError, open_regular, read_text, remove
from lorapar_cli.store.records import to_line
from lorapar_cli.store.resumable_folder import UNFINISHED_PREFIX


class Journal:
    """An append-only file of objects that depend on the same things, in a folder of a run.

    The sha256 of each line, together with what it depends on, stands in a file next to it. A line
    that was damaged, or that depends on something else, is as good as not there.

    Args:
        folder: Working folder of an unfinished run, with which the journal goes when it is done.
        name: Of the journal; the file is `unfinished-<name>.jsonl`.
        belongs_to: Digest of everything that the lines depend on.

    Attributes:
        lines: The objects, those of an interrupted command first.

    Raises:
        UnreadableError: A file is there and may not be read.
    """

    def __init__(self, folder: Path, name: str, belongs_to: str) -> None:
        self._path = folder / f"{UNFINISHED_PREFIX}-{name}.jsonl"
        self._digests = self._path.with_suffix(".txt")
        self._belongs_to = belongs_to
        self.lines: list[Any] = []
        whole = self._read()
        if not _is_plain(self._path) or not _is_plain(self._digests):
            remove(self._path)
            remove(self._digests)
            self.lines = []
        elif self._path.exists():
            # A kill may have left half a line; the next one must not follow on it.
            os.truncate(self._path, whole)

    def _read(self) -> int:
        """Reads the lines up to the first that does not count; returns their number of bytes."""
        whole = 0
        try:
            written = set(read_text(self._digests).split())
            with open_regular(self._path, "rb") as file:
                for line in file:
                    if self._digest(line) not in written:
                        break
                    self.lines.append(json.loads(line))
                    whole += len(line)
        except UnreadableError:
            raise
        except LoraparError:
            return whole  # There is none, or nothing to compare it with.
        return whole

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Adds objects; returns once they are on the disk."""
        lines = list(lines)
        encoded = [to_line(line).encode() for line in lines]
        # First: a digest without its line does no harm. A kill may have left half a digest.
        digests = "".join(f"\n{self._digest(line)}" for line in encoded)
        _append(self._digests, f"{digests}\n".encode())
        _append(self._path, b"".join(encoded))
        self.lines += lines

    def _digest(self, line: bytes) -> str:
        return hashlib.sha256(self._belongs_to.encode() + b"\n" + line).hexdigest()


def _is_plain(path: Path) -> bool:
    """Returns whether a path is free or a regular file."""
    return not os.path.lexists(path) or (path.is_file() and not path.is_symlink())


def _append(path: Path, content: bytes) -> None:
    with open(path, "ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def digest_of(content: Any) -> str:
    """Returns the hex sha256 of what JSON makes of a value."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
