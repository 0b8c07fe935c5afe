"""The journal's answers by key, in a scratch database."""

import codecs
import json
import math
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.votes.voting import CODES, NO_VOTE
from lorapar_cli.names import System
from lorapar_cli.store.disk.regular_files import open_regular

ASKED_ONCE = 4
"""In addition to the codes of `labelling.votes.voting`: a first answer without a vote.

The low two bits of a code are the vote, here `UNASKED`: the question is asked once more.
"""
CUT = 4 + NO_VOTE
"""No vote because the answer was truncated; asked again once `max_tokens` is higher."""

_MAX_TOKENS = 1 << 50
_MAX_COST = 1e12
# No line of ours is as long; more of one is never held in memory.
_MAX_LINE = 1 << 26
_KEY = re.compile(r"[0-9a-f]{32}")

# Offset of the answer's line; key; code; tokens and whether they are estimated; cost or NULL;
# `max_tokens` if the answer was truncated there, else 0; whether the answer has any words.
_TABLE = """
CREATE TABLE journal (
    offset INTEGER PRIMARY KEY, key INTEGER, code INTEGER, prompt INTEGER, completion INTEGER,
    estimated INTEGER, cost REAL, cut_at INTEGER, worded INTEGER
)"""


class JournalIndex:
    """Fills the table `journal` of a scratch database with a journal's answers.

    Attributes:
        damaged: Number of lines skipped because they are not answers.
        first_damaged: Number of the first of these lines, or None.

    Raises:
        LoraparError: The journal is not a regular file, or not UTF-8 text.
    """

    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        self._database, self._path, self._read_to, self._lines_read = database, path, 0, 0
        self.damaged = 0
        self.first_damaged: int | None = None
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
            "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", self._rows()
        )
        self._database.execute("CREATE INDEX IF NOT EXISTS journal_keys ON journal (key)")
        return self._read_to > before

    def _rows(self) -> Iterator[tuple[int | float | None, ...]]:
        for offset, line in self._lines():
            try:
                row = (offset, *_read_answer(line))
            except (KeyError, ValueError, TypeError, OverflowError):
                self.damaged += 1
                self.first_damaged = self.first_damaged or self._lines_read
                continue
            yield row

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields offset and content of each complete line; an empty object for a damaged one."""
        if not os.path.lexists(self._path):
            return
        with open_regular(self._path, "rb") as file:
            if self._read_to == 0 and file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise LoraparError(
                    f"`{self._path}` is not UTF-8 text",
                    "it is UTF-16, as an editor may have saved it",
                    "convert it to UTF-8, or move it away to ask everything again",
                )
            file.seek(self._read_to)
            while line := file.readline(_MAX_LINE):
                length, whole = len(line), line.endswith(b"\n")
                while not whole and (rest := file.readline(_MAX_LINE)):
                    # Too long to be an answer: only its end is looked for.
                    length, whole, line = length + len(rest), rest.endswith(b"\n"), b""
                if not whole:
                    return
                self._lines_read += 1
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):
                    value = {}
                yield self._read_to, value if isinstance(value, dict) else {}
                self._read_to += length

    def teacher_at(self, offset: int) -> str | None:
        """Returns the name of the teacher whose answer is at an offset."""
        with open_regular(self._path, "rb") as file:
            file.seek(offset)
            return json.loads(file.readline()).get("teacher")


def _read_answer(line: dict[str, Any]) -> tuple[int | float | None, ...]:
    """Returns the columns of an answer behind its offset.

    Raises:
        KeyError, ValueError, TypeError, OverflowError: It is not an answer.
    """
    code = answer_code(line["vote"], line.get("final", True), line.get("cut_at"))
    prompt, completion, cut_at = (
        int(line.get(name) or 0) for name in ("prompt_tokens", "completion_tokens", "cut_at")
    )
    cost = None if line.get("cost") is None else float(line["cost"])
    if not _KEY.fullmatch(line["key"]):
        raise ValueError("not a key")
    if not all(0 <= number < _MAX_TOKENS for number in (prompt, completion, cut_at)):
        raise ValueError("not a number of tokens")
    if cost is not None and not (math.isfinite(cost) and 0 <= cost < _MAX_COST):
        raise ValueError("not an amount of money")
    worded = bool(str(line.get("text") or "").strip())
    estimated = bool(line.get("estimated"))
    return short_key(line["key"]), code, prompt, completion, estimated, cost, cut_at, worded


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
