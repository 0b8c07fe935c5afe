"""`votes.jsonl`: the append-only journal of every teacher's answer.

One answer a line, written as it arrives and flushed to the disk in small batches, so that an
interrupted run goes on without asking anything twice. It is looked up by key, a digest of all that
an answer depends on (the teacher's model, the prompt, the record), so renaming a teacher or
reordering the data asks nothing again.
"""

import fcntl
import json
import os
import threading
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System
from lorapar_cli.store.manifest import now

JOURNAL = "votes.jsonl"
_SYNC_SECONDS = 0.2

UNASKED = 0
NO_VOTE = 3
CODES = {System.SYSTEM1: 1, System.SYSTEM2: 2, None: NO_VOTE}
"""One byte a vote, the codes of `core.voting`."""
ASKED_ONCE = 4
"""An answer without a vote that is still to be asked once more."""


@dataclass(frozen=True)
class Answer:
    """One line of the journal; fields that are None are left out there.

    Attributes:
        key: 32 hex digits, the digest of teacher, prompt and record.
        id: The record's id, for people.
        vote: The label, or None where the answer holds none.
        text: The teacher's words.
        final: False for a first answer without a vote, after which the teacher is asked again.
        seconds: From sending the request to the end of its answer.
        cost: In the currency of the price, US dollars; None where the price is unknown.
    """

    key: str
    teacher: str
    model: str
    id: str
    vote: System | None
    text: str
    final: bool = True
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None
    cost: float | None = None
    at: str | None = None


class Journal:
    """The journal of one stage folder, open for one process at a time.

    Raises:
        LoraparError: Another process has it open, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            os.close(self._file)
            raise LoraparError(
                f"another `lorapar classify` is writing `{path}`",
                hint="wait for it, or give this run its own `--run-dir`",
            ) from cause
        self.damaged = 0
        self._end = self._drop_torn_line()
        self._dirty, self._closed = threading.Event(), False
        self._syncer = threading.Thread(target=self._sync_now_and_then, daemon=True)
        self._syncer.start()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._dirty.set()
        self._syncer.join()
        os.fsync(self._file)
        os.close(self._file)

    def _drop_torn_line(self) -> int:
        """Cuts off what a kill or a full disk left of a last line; returns the length."""
        size = os.fstat(self._file).st_size
        end = size
        while end > 0:
            start = max(0, end - 65536)
            newline = os.pread(self._file, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            os.ftruncate(self._file, end)
        return end

    def _sync_now_and_then(self) -> None:
        pause = threading.Event()
        while not self._closed:
            self._dirty.wait()
            self._dirty.clear()
            os.fsync(self._file)
            pause.wait(_SYNC_SECONDS)

    def append(self, answer: Answer) -> int:
        """Writes an answer to the end; returns where its line begins."""
        line = {key: value for key, value in asdict(answer).items() if value is not None}
        line |= {"vote": answer.vote, "at": now()}
        content = (json.dumps(line, ensure_ascii=False) + "\n").encode(errors="replace")
        start = self._end
        try:
            written = os.write(self._file, content)
            while written < len(content):
                written += os.write(self._file, content[written:])
        except OSError as cause:
            os.ftruncate(self._file, start)
            raise LoraparError(
                f"cannot write `{self.path}`",
                cause.strerror,
                "the answers so far are kept: make room and give the same command again",
            ) from cause
        self._end += len(content)
        self._dirty.set()
        return start

    def read_at(self, offset: int) -> dict:
        """Returns the line that begins at an offset."""
        content = b""
        while not content.endswith(b"\n"):
            more = os.pread(self._file, 65536, offset + len(content))
            newline = more.find(b"\n")
            content += more if newline < 0 else more[: newline + 1]
        return json.loads(content)

    def _lines(self) -> Iterator[tuple[int, dict]]:
        offset = 0
        with open(self.path, "rb") as file:
            for line in file:
                try:
                    value = json.loads(line)
                    value["key"], value["vote"]
                    yield offset, value
                except (ValueError, KeyError, TypeError):
                    self.damaged += 1
                offset += len(line)

    def index(self) -> "JournalIndex":
        """Returns what the journal holds, a few bytes an answer; damaged lines are passed over."""
        keys, codes, offsets = array("Q"), array("B"), array("q")
        self.damaged = 0
        for offset, line in self._lines():
            code = CODES.get(line["vote"], NO_VOTE)
            keys.append(short_key(line["key"]))
            codes.append(code if line.get("final", True) else ASKED_ONCE)
            offsets.append(offset)
        return JournalIndex(
            np.frombuffer(keys, dtype=np.uint64) if keys else np.zeros(0, np.uint64),
            np.array(codes, dtype=np.uint8),
            np.array(offsets, dtype=np.int64),
        )


def short_key(key: str) -> int:
    """Returns the first 64 bits of a key: what memory holds of it."""
    return int(key[:16], 16)


class JournalIndex:
    """Answers by key; of several with one key the last counts."""

    def __init__(self, keys: np.ndarray, codes: np.ndarray, offsets: np.ndarray) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, self._codes, self._offsets = keys[order], codes[order], offsets[order]

    def look_up(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns code (uint8) and line offset (int64) of each key; `UNASKED` and -1 if none."""
        if len(self._keys) == 0:
            return np.zeros(len(keys), np.uint8), np.full(len(keys), -1, np.int64)
        place = np.searchsorted(self._keys, keys, side="right") - 1
        known = (place >= 0) & (self._keys[place] == keys)
        return (
            np.where(known, self._codes[place], UNASKED).astype(np.uint8),
            np.where(known, self._offsets[place], -1),
        )
