"""The journal's answers by key, in a scratch database."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorapar_cli.labelling.votes.voting import CODES, NO_VOTE
from lorapar_cli.names import System

ASKED_ONCE = 4
"""In addition to the codes of `labelling.votes.voting`: a first answer without a vote.

The low two bits of a code are the vote, here `UNASKED`: the question is asked once more.
"""
CUT = 4 + NO_VOTE
"""No vote because the answer was truncated; asked again once `max_tokens` is higher."""

_MAX_TOKENS = 1 << 50

# Offset of the answer's line; key; code; tokens and whether they are estimated; cost or NULL;
# `max_tokens` if the answer was truncated there, else 0.
_TABLE = """
CREATE TABLE journal (
    offset INTEGER PRIMARY KEY, key INTEGER, code INTEGER, prompt INTEGER, completion INTEGER,
    estimated INTEGER, cost REAL, cut_at INTEGER
)"""


class JournalIndex:
    """Fills the table `journal` of a scratch database with a journal's answers.

    Attributes:
        damaged: Number of lines skipped because they are not answers.
    """

    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        self._database, self._path, self._read_to = database, path, 0
        self.damaged = 0
        database.execute(_TABLE)
        self.read_on()

    @property
    def empty(self) -> bool:
        """Whether the journal has no answers."""
        return self._database.execute("SELECT 1 FROM journal").fetchone() is None

    def read_on(self) -> bool:
        """Reads the lines added since the last reading; returns whether there are any."""
        before = self._read_to
        self._database.executemany(
            "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._rows()
        )
        self._database.execute("CREATE INDEX IF NOT EXISTS journal_keys ON journal (key)")
        return self._read_to > before

    def _rows(self) -> Iterator[tuple[int | float | None, ...]]:
        for offset, line in self._lines():
            try:
                code = answer_code(line["vote"], line.get("final", True), line.get("cut_at"))
                prompt, completion, cut_at = (
                    int(line.get(name) or 0)
                    for name in ("prompt_tokens", "completion_tokens", "cut_at")
                )
                estimated = bool(line.get("estimated"))
                cost = None if line.get("cost") is None else float(line["cost"])
                key = short_key(line["key"])
                row = (offset, key, code, prompt, completion, estimated, cost, cut_at)
                if not 0 <= prompt + completion + cut_at < _MAX_TOKENS:
                    raise ValueError("not a number of tokens")
            except (KeyError, ValueError, TypeError):
                self.damaged += 1
                continue
            yield row

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields offset and content of each complete line; an empty object for a damaged one."""
        if not self._path.exists():
            return
        with open(self._path, "rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                try:
                    value = json.loads(line)
                except ValueError:
                    value = {}
                yield self._read_to, value if isinstance(value, dict) else {}
                self._read_to += len(line)

    def teacher_at(self, offset: int) -> str | None:
        """Returns the name of the teacher whose answer is at an offset."""
        with open(self._path, "rb") as file:
            file.seek(offset)
            return json.loads(file.readline()).get("teacher")


def answer_code(vote: System | None, final: bool, cut_at: int | None) -> int:
    """Returns the code of an answer.

    Raises:
        KeyError: `vote` is not a vote.
    """
    if not final:
        return ASKED_ONCE
    return CUT if vote is None and cut_at else CODES[vote]


def short_key(key: str) -> int:
    """Returns the first 64 bits of a key as the database stores them, a signed integer."""
    return int(key[:16], 16) - (1 << 63)
