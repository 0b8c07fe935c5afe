"""Patterns of votes: records that are alike in everything their label depends on, counted together.

The same few rows of votes occur again and again, so whatever is computed from patterns takes no
more memory for a million records than for a thousand.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lorapar_cli.labelling.votes.vote_table import VoteTable

_ATTRIBUTES = ("truth", "empty", "owner = records.number", "held_out", "random_label", "reviewed")


@dataclass(frozen=True)
class VotePatterns:
    """One entry per pattern; their number depends on the teachers, not on the records.

    Attributes:
        counts: int64 `[patterns]`, number of records.
        votes: uint8 `[patterns, teachers]`, the codes of `labelling.votes.voting`.
        truths: uint8 `[patterns]`, the source's own label as a vote code, or 0.
        empty: bool `[patterns]`, prompt or completion is empty.
        first: bool `[patterns]`, the first record with its prompt and completion, not a copy.
        held_out: bool `[patterns]`, held out for `eval`.
        random_labels: uint8 `[patterns]`, a label drawn at random as a vote code, or 0.
        reviewed: uint8 `[patterns]`, a person's label as a vote code, or 0.
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
    """Returns the patterns of a vote table, in the order of votes and attributes."""
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
    """Yields each record's pattern, and the journal's offset of each teacher's answer or -1."""
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
