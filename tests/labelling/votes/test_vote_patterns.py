"""Patterns of votes: every record is counted once, and found again."""

import numpy as np

from lorapar_cli.labelling.scratch_database import scratch_database
from lorapar_cli.labelling.votes.vote_patterns import pattern_of_each, read_patterns
from lorapar_cli.labelling.votes.voting import NO_VOTE, SYSTEM1, SYSTEM2
from tests.labelling.classify_parts import RULES, open_vote_table, write_rows

VOTES = [(SYSTEM1, SYSTEM1), (SYSTEM1, SYSTEM2), (SYSTEM1, SYSTEM1), (NO_VOTE, SYSTEM2)]


def test_records_alike_are_one_pattern_with_their_number(tmp_path):
    rows = [{"question": f"{i}?", "answer": "1"} for i in range(4)]
    rows += [rows[1], {"question": "5?", "answer": ""}]
    data = write_rows(tmp_path / "data.jsonl", rows)
    with scratch_database(tmp_path / "classify") as database:
        table = open_vote_table(database, data, RULES[:2], tmp_path / "votes.jsonl")
        for column in range(2):
            table.fill_in(column, [(votes[column], n, n) for n, votes in enumerate(VOTES)])
        patterns = read_patterns(table)
        each = list(pattern_of_each(table, patterns))
    assert patterns.counts.sum() == 6
    assert len(patterns.counts) == 5
    places, offsets = zip(*each, strict=True)
    assert [patterns.votes[place].tolist() for place in places[:4]] == [[*v] for v in VOTES]
    assert places[0] == places[2]
    assert patterns.counts[places[0]] == 2
    # The copy has the votes of its first record, but is a pattern of its own: nobody was asked.
    assert patterns.votes[places[4]].tolist() == [*VOTES[1]]
    assert [bool(patterns.first[places[n]]) for n in (1, 4)] == [True, False]
    assert np.flatnonzero(patterns.empty).tolist() == [places[5]]
    assert offsets == ((0, 0), (1, 1), (2, 2), (3, 3), (1, 1), (-1, -1))
