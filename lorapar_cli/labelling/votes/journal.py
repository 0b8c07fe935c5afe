"""`votes.jsonl`: the append-only journal of every teacher's answer.

One answer per line, written as it arrives and flushed to disk every 0.2 seconds, so that an
interrupted run resumes without asking anything twice. Answers are looked up by key, a digest of
everything that an answer depends on (the teacher's model, the prompt, the record), so renaming a
teacher or reordering the data asks nothing again.
"""

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System
from lorapar_cli.store.atomic import fsync_path
from lorapar_cli.store.disk.errors import as_expected
from lorapar_cli.store.disk.lock import lock_descriptor
from lorapar_cli.store.disk.regular_files import kind_of
from lorapar_cli.store.manifest import now

RESUME_HINT = "answers so far are saved; run the same command again to resume"

_SYNC_SECONDS = 0.2


@dataclass(frozen=True)
class Answer:
    """One line of the journal, which omits fields that are None.

    Attributes:
        key: 32 hex digits, the digest of teacher, prompt and record.
        id: The record's id, for human readers.
        vote: The label, or None if the answer holds none.
        text: The teacher's answer.
        final: False for a first answer without a vote, after which the teacher is asked again.
        seconds: From sending the request to the end of its answer.
        cost: US dollars; None if the price is unknown.
        estimated: True if the numbers of tokens are an estimate.
        cut_at: `max_tokens`, if the answer was truncated there before it named a label.
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
    estimated: bool | None = None
    cut_at: int | None = None
    at: str | None = None


class Journal:
    """The journal of one stage folder, open in one process at a time.

    Raises:
        LoraparError: Another process has it open, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._failure: OSError | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Without O_NONBLOCK, opening a device may wait for ever.
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o644)
            if (kind := kind_of(os.fstat(self._file).st_mode)) is not None:
                os.close(self._file)
                raise LoraparError(f"`{path}` is not a file", f"it is {kind}", "move it away")
            # A new file's name survives a crash only after its folder is flushed too.
            for folder in (path.parent, path.parent.parent):
                fsync_path(folder)
        except OSError as cause:
            raise self._unwritable(cause) from cause
        try:
            # Where the file system has no such locks, that of the stage folder stands alone.
            lock_descriptor(self._file)
        except BlockingIOError as cause:
            os.close(self._file)
            raise LoraparError(
                f"another `lorapar classify` is writing `{path}`",
                hint="wait for it, or give this run its own `--run-dir`",
            ) from cause
        self._end = self._drop_incomplete_line()
        self._dirty, self._closed = threading.Event(), False
        self._syncer = threading.Thread(target=self._sync_regularly, daemon=True)
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
        expected = as_expected(cause)
        hint = expected.hint if expected and expected.hint else "make it a file that can be written"
        return LoraparError(f"cannot write `{self.path}`", cause.strerror, f"{hint}; {RESUME_HINT}")

    def _drop_incomplete_line(self) -> int:
        """Removes a last line left incomplete by a kill or a full disk; returns the length."""
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

    def _sync_regularly(self) -> None:
        pause = threading.Event()
        while not self._closed:
            self._dirty.wait()
            self._dirty.clear()
            self._sync()
            pause.wait(_SYNC_SECONDS)

    def append(self, answer: Answer) -> int:
        """Appends an answer; returns the offset of its line."""
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

    def read_at(self, offset: int) -> dict[str, Any]:
        """Returns the line at an offset.

        Raises:
            LoraparError: It is not there any more.
        """
        content = b""
        while not content.endswith(b"\n"):
            more = os.pread(self._file, 65536, offset + len(content))
            if not more:
                break
            newline = more.find(b"\n")
            content += more if newline < 0 else more[: newline + 1]
        try:
            value = json.loads(content)
        except ValueError as cause:
            raise LoraparError(
                f"`{self.path}` was changed by another program during the run",
                f"there is no answer at byte {offset}",
                RESUME_HINT,
            ) from cause
        return value if isinstance(value, dict) else {}
