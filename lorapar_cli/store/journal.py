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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lorapar_cli.core.voting import NO_VOTE, SYSTEM1, SYSTEM2, UNASKED
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System
from lorapar_cli.store.manifest import now
from lorapar_cli.store.publish import fsync_path

JOURNAL = "votes.jsonl"
_SYNC_SECONDS = 0.2

CODES = {System.SYSTEM1: SYSTEM1, System.SYSTEM2: SYSTEM2, None: NO_VOTE}
ASKED_ONCE = 4
"""Beside the codes of `core.voting`: an answer without a vote that is to be asked once more."""


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
        self._failure: OSError | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            # The name of a new file lasts only once its folder is on the disk too.
            for folder in (path.parent, path.parent.parent):
                fsync_path(folder)
        except OSError as cause:
            raise self._unwritable(cause) from cause
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            os.close(self._file)
            raise LoraparError(
                f"another `lorapar classify` is writing `{path}`",
                hint="wait for it, or give this run its own `--run-dir`",
            ) from cause
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
        self._sync()
        os.close(self._file)
        if self._failure is not None:
            raise self._unwritable(self._failure)

    def _unwritable(self, cause: OSError) -> LoraparError:
        return LoraparError(
            f"cannot write `{self.path}`",
            cause.strerror,
            "the answers so far are kept: make room and give the same command again",
        )

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

    def _sync(self) -> None:
        try:
            os.fsync(self._file)
        except OSError as cause:
            self._failure = self._failure or cause

    def _sync_now_and_then(self) -> None:
        pause = threading.Event()
        while not self._closed:
            self._dirty.wait()
            self._dirty.clear()
            self._sync()
            pause.wait(_SYNC_SECONDS)

    def append(self, answer: Answer) -> int:
        """Writes an answer to the end; returns where its line begins."""
        line = {key: value for key, value in vars(answer).items() if value is not None}
        line |= {"vote": answer.vote, "at": now()}
        content = (json.dumps(line, ensure_ascii=False) + "\n").encode(errors="replace")
        start = self._end
        try:
            if self._failure is not None:
                raise self._failure
            written = os.write(self._file, content)
            while written < len(content):
                written += os.write(self._file, content[written:])
        except OSError as cause:
            os.ftruncate(self._file, start)
            raise self._unwritable(cause) from cause
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


@dataclass(frozen=True)
class Known:
    """What the journal knows of some keys.

    Attributes:
        codes: uint8, `UNASKED` where it knows nothing.
        offsets: int64, where the line with the words begins, -1 if nowhere.
        answers, prompt_tokens, completion_tokens, cost: Sums over all answers with these keys.
        unpriced: Prompt and completion tokens of those answers that have no cost.
    """

    codes: np.ndarray
    offsets: np.ndarray
    answers: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    unpriced: tuple[int, int]


class JournalIndex:
    """A journal's answers by key, a few bytes each; of several with one key the last counts.

    Attributes:
        damaged: Lines that were passed over because they are no answers.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        keys, codes, offsets = array("Q"), array("B"), array("q")
        asked, said, costs = array("L"), array("L"), array("d")
        self.damaged = 0
        for offset, line in _lines(path):
            try:
                key, code = short_key(line["key"]), CODES[line["vote"]]
            except (KeyError, ValueError, TypeError):
                self.damaged += 1
                continue
            keys.append(key)
            codes.append(code if line.get("final", True) else ASKED_ONCE)
            offsets.append(offset)
            asked.append(line.get("prompt_tokens") or 0)
            said.append(line.get("completion_tokens") or 0)
            cost = line.get("cost")
            costs.append(float("nan") if cost is None else cost)
        order = np.argsort(np.array(keys, dtype=np.uint64), kind="stable")
        self._keys = np.array(keys, dtype=np.uint64)[order]
        self._codes = np.array(codes, dtype=np.uint8)[order]
        self._offsets = np.array(offsets, dtype=np.int64)[order]
        self._sums = [np.array(values, dtype=np.float64)[order] for values in (asked, said, costs)]

    def first_teacher(self, keys: np.ndarray) -> str | None:
        """Returns the name of a teacher with an answer under one of the keys, None without any."""
        offsets = self._offsets[np.isin(self._keys, keys)]
        if len(offsets) == 0:
            return None
        with open(self._path, "rb") as file:
            file.seek(int(offsets.min()))
            return json.loads(file.readline()).get("teacher")

    def look_up(self, keys: np.ndarray) -> Known:
        """Returns what is known of each key, uint64."""
        if len(self._keys) == 0:
            nothing = np.zeros(len(keys), np.uint8)
            return Known(nothing, np.full(len(keys), -1, np.int64), 0, 0, 0, 0.0, (0, 0))
        place = np.maximum(np.searchsorted(self._keys, keys, side="right") - 1, 0)
        known = self._keys[place] == keys
        mine = np.isin(self._keys, keys)
        asked, said, costs = (values[mine] for values in self._sums)
        unpriced = np.isnan(costs)
        return Known(
            np.where(known, self._codes[place], UNASKED).astype(np.uint8),
            np.where(known, self._offsets[place], -1),
            int(mine.sum()),
            int(asked.sum()),
            int(said.sum()),
            float(costs[~unpriced].sum()),
            (int(asked[unpriced].sum()), int(said[unpriced].sum())),
        )


def _lines(path: Path) -> Iterator[tuple[int, dict]]:
    """Yields offset and content of each line; of a damaged one an empty object."""
    if not path.exists():
        return
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            try:
                value = json.loads(line)
            except ValueError:
                value = {}
            yield offset, value if isinstance(value, dict) else {}
            offset += len(line)


def short_key(key: str) -> int:
    """Returns the first 64 bits of a key: what memory holds of it."""
    return int(key[:16], 16)
