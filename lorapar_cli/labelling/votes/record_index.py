"""The index of a data set: one pass checks every record and writes what matters of each to disk.

Later passes stream and look up in the index which ids are repeated, which records have the same
content, which are held out, and under which key each answer is journaled.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from lorapar_cli.data.formats import content_digest, empty_side, source_label
from lorapar_cli.data.messages import first_question
from lorapar_cli.data.readers import Source
from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Advance, Note, Progress
from lorapar_cli.labelling.votes.journal import RESUME_HINT
from lorapar_cli.labelling.votes.voting import CODES
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.store.records import Message, Record

_DIGEST_BYTES = 16

# number: from 0, in input order. digest: of prompt and completion. id: as in the source.
# prompt: hash of what must be on one side of the held-out records. draw: uniform, from id and seed. truth: the source's own label as a vote code, or 0.
# empty: prompt or completion is empty. owner: first record with the same prompt and completion.
# suffix: appended to a repeated id, or 0. held_out: for `eval`.
# random_label, reviewed: label drawn at random or given by a person, as a vote code, or 0.
_TABLE = """
CREATE TABLE records (
    number INTEGER PRIMARY KEY, digest BLOB, id TEXT, prompt INTEGER, draw INTEGER, truth INTEGER,
    empty INTEGER, owner INTEGER, suffix INTEGER DEFAULT 0, held_out INTEGER DEFAULT 0,
    random_label INTEGER DEFAULT 0, reviewed INTEGER DEFAULT 0
)"""


@dataclass
class RecordIndex:
    """The table `records` of a scratch database.

    Attributes:
        source: The data set that was read.
        bad: Places and causes of the first skipped rows.
        bad_count: Number of skipped rows.
        copies: Number of records with the same content as an earlier one.
        repeated_ids: Number of records with the id of an earlier one.
        without_reference: Number of records without a reference answer.
        unused: Fields that look like part of the question and are not used -> number of rows.
    """

    database: sqlite3.Connection
    source: Source
    count: int
    bad: list[str]
    bad_count: int
    copies: int = 0
    repeated_ids: int = 0
    without_reference: int = 0
    unused: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.count

    def records(self) -> Iterator[Record]:
        """Yields the records again; a repeated id gets a suffix `#2`, `#3`, ...

        Raises:
            LoraparError: The data has changed since it was indexed.
        """
        known = self.database.execute("SELECT digest, suffix FROM records ORDER BY number")
        for record in self.source.records():
            digest, suffix = known.fetchone() or (None, 0)
            if _digest(record) != digest:
                break
            yield replace(record, id=f"{record.id}#{suffix}") if suffix else record
        else:
            if known.fetchone() is None:
                return
        raise LoraparError(
            f"`{self.source.name}` changed while it was read",
            hint=RESUME_HINT,
        )

    def query_value(self, query: str, *values: object) -> Any:
        """Returns the single value that a query yields."""
        return self.database.execute(query, values).fetchone()[0]


def signed_hash(text: str) -> int:
    """Returns a 64-bit hash as the database stores it, a signed integer of the same order."""
    return _signed(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()))


def _signed(number: int) -> int:
    return number - (1 << 63)


def _digest(record: Record) -> bytes:
    return bytes.fromhex(content_digest(record.prompt, record.completion))[:_DIGEST_BYTES]


def _shared_prompt(record: Record, source: Source) -> str | list[Message]:
    """Returns what records have in common of which some must not be held out alone."""
    # The prompt of a later turn holds the answer to an earlier one.
    return first_question(record.prompt) if source.fields.turns == "all" else record.prompt


def build_index(
    database: sqlite3.Connection, source: Source, seed: int, progress: Progress
) -> RecordIndex:
    """Reads the whole data set once and returns its index.

    Raises:
        LoraparError: A row is not a valid record and the source does not skip it, or there are no
            records.
    """
    count = 0

    def rows() -> Iterator[tuple[object, ...]]:
        nonlocal count
        for record in source.records():
            truth = source_label(record)
            yield (
                count,
                _digest(record),
                record.id,
                signed_hash(repr(_shared_prompt(record, source))),
                _signed(draw(record.id, seed, "records")),
                CODES[truth] if truth else 0,
                empty_side(record) is not None,
                count,
            )
            count += 1
            if count % 1000 == 0:
                progress(Advance("reading", count))

    database.execute(_TABLE)
    columns = "number, digest, id, prompt, draw, truth, empty, owner"
    database.executemany(f"INSERT INTO records ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows())
    if not count:
        raise LoraparError(
            f"`{source.name}` contains no records",
            describe_skipped(source.bad_count, source.bad[0]) if source.bad else None,
        )
    progress(Advance("reading", count, count))
    index = RecordIndex(
        database,
        source,
        count,
        source.bad,
        source.bad_count,
        without_reference=source.without_reference,
        unused=dict(source.unused),
    )
    for text in _notes_on_fields(index):
        progress(Note(text))
    _find_copies(index)
    _find_repeated_ids(index)
    return index


def describe_skipped(number: int, first: str) -> str:
    """Returns a sentence on lines that hold no record, of which one is named."""
    were = inflected(number, "was", "were")
    return f"{counted(number, 'invalid line')} {were} skipped, first {first}"


def _notes_on_fields(index: RecordIndex) -> Iterator[str]:
    """Yields what a person should know of the data before anyone is asked."""
    if index.without_reference:
        yield (
            f"{index.without_reference:,} of {counted(index.count, 'record')} "
            f"{inflected(index.without_reference, 'has', 'have')} no reference answer, "
            "which `train-rl` and `eval` need; `--answer-field` names the field that holds it"
        )
    for name, rows in sorted(index.unused.items()):
        yield f"field `{name}` looks like part of the question and is not used ({counted(rows, 'row')})"


def _find_copies(index: RecordIndex) -> None:
    """Sets the owner of copies; until now every record is its own."""
    index.database.execute("CREATE TABLE copied (digest BLOB PRIMARY KEY, first) WITHOUT ROWID")
    index.database.execute(
        "INSERT INTO copied SELECT digest, min(number) FROM records"
        " GROUP BY digest HAVING count(*) > 1"
    )
    index.copies = index.database.execute(
        "UPDATE records SET owner = (SELECT first FROM copied WHERE digest = records.digest)"
        " WHERE digest IN (SELECT digest FROM copied)"
    ).rowcount - index.query_value("SELECT count(*) FROM copied")


def _find_repeated_ids(index: RecordIndex) -> None:
    """Gives all records of an id but the first a suffix that makes the id unique."""
    database = index.database
    database.execute("CREATE TABLE repeated (id TEXT, number INTEGER)")
    database.execute("CREATE INDEX record_ids ON records (id)")
    database.execute(
        "INSERT INTO repeated SELECT id, number FROM records WHERE id IN"
        " (SELECT id FROM records GROUP BY id HAVING count(*) > 1) ORDER BY id, number"
    )

    def suffixes() -> Iterator[tuple[int, int]]:
        before, suffix = None, 2
        for name, number in database.execute("SELECT id, number FROM repeated ORDER BY rowid"):
            if name != before:
                before, suffix = name, 2
                continue
            while _is_taken(database, f"{name}#{suffix}"):
                suffix += 1
            yield suffix, number
            index.repeated_ids += 1
            suffix += 1

    database.executemany("UPDATE records SET suffix = ? WHERE number = ?", suffixes())


def _is_taken(database: sqlite3.Connection, name: str) -> bool:
    return database.execute("SELECT 1 FROM records WHERE id = ?", (name,)).fetchone() is not None


def draw(name: str, seed: int, purpose: str) -> int:
    """Returns a uniform 64-bit integer that depends on name, seed and purpose only."""
    text = f"{purpose}\n{seed}\n{name}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
