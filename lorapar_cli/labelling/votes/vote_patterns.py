"""Kinds of records: those alike in all that a verdict depends on, counted together.

Votes are few different rows that come again and again, so whatever is computed from them takes no
more memory for a million records than for a thousand.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lorapar_cli.labelling.votes.vote_table import VoteTable

_ATTRIBUTES = ("truth", "empty", "owner = records.number", "held_out", "random_label", "reviewed")


@dataclass(frozen=True)
class VotePatterns:
    """One entry a kind; at most 4 to the power of the teachers, times the marks that occur.

    Attributes:
        counts: int64, how many records are of it.
        votes: uint8 `[patterns, teachers]`, the codes of `labelling.votes.voting`.
        truths: uint8, the source's own label as a vote code, 0 where it has none.
        empty: bool, records that teach nothing.
        first: bool, the first record with its prompt and completion, as opposed to copies.
        held_out: bool, kept apart for `eval`.
        random_labels: uint8, a label by chance as a vote code, else 0.
        reviewed: uint8, a person's label as a vote code, else 0.
    """

    counts: np.ndarray
    votes: np.ndarray
    truths: np.ndarray
    empty: np.ndarray
    first: np.ndarray
    held_out: np.ndarray
    random_labels: np.ndarray
    reviewed: np.ndarray


def read_patterns(vote_table: VoteTable) -> VotePatterns:
    """Returns the kinds of a ballot's records, in the order of votes and attributes."""
    fields = _fields(vote_table)
    found = vote_table.database.execute(
        f"SELECT count(*), {fields} {_JOINED} GROUP BY {fields} ORDER BY {fields}"
    ).fetchall()
    table = np.array(found, np.int64)
    teachers = len(vote_table.teachers)
    truths, empty, first, held_out, random_labels, reviewed = table[:, 1 + teachers :].T
    return VotePatterns(
        table[:, 0],
        table[:, 1 : 1 + teachers].astype(np.uint8),
        truths.astype(np.uint8),
        empty.astype(bool),
        first.astype(bool),
        held_out.astype(bool),
        random_labels.astype(np.uint8),
        reviewed.astype(np.uint8),
    )


def pattern_of_each(
    vote_table: VoteTable, patterns: VotePatterns
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yields each record's kind, and where the journal holds each teacher's words on it or -1."""
    attributes = (
        patterns.truths,
        patterns.empty,
        patterns.first,
        patterns.held_out,
        patterns.random_labels,
        patterns.reviewed,
    )
    table = np.column_stack((patterns.votes, *attributes)).astype(int).tolist()
    places = {tuple(row): place for place, row in enumerate(table)}
    width = len(vote_table.teachers) + len(_ATTRIBUTES)
    offsets = f", {vote_table.offsets}" if vote_table.teachers else ""
    rows = vote_table.database.execute(
        f"SELECT {_fields(vote_table)}{offsets} {_JOINED} ORDER BY records.number"
    )
    for row in rows:
        yield places[row[:width]], row[width:]


_JOINED = "FROM records JOIN answers ON answers.number = records.owner"


def _fields(vote_table: VoteTable) -> str:
    return ", ".join((*([vote_table.votes] if vote_table.teachers else []), *_ATTRIBUTES))
