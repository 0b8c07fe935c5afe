"""The journal's answers by key: what is read, what is skipped."""

import json

import pytest

from lorapar_cli.labelling.scratch_database import scratch_database
from lorapar_cli.labelling.votes.journal import Answer, Journal
from lorapar_cli.labelling.votes.journal_index import ASKED_ONCE, CUT, JournalIndex, short_key
from lorapar_cli.labelling.votes.voting import NO_VOTE, SYSTEM1, SYSTEM2, UNASKED
from lorapar_cli.names import System
from tests.labelling.classify_parts import run_classify

KEYS = [f"{(i + 1) * 0x123456789ABCDEF:016x}{i:016x}" for i in range(6)]


def answer(number, vote, **more):
    return Answer(KEYS[number], "t", "m", f"r{number}", vote, f"words {number} \ud800é", **more)


@pytest.fixture
def database(tmp_path):
    with scratch_database(tmp_path / "classify") as database:
        yield database


def rows(database):
    """Offset, key's number, code, tokens and cost of each answer, in order."""
    found = database.execute("SELECT * FROM journal ORDER BY offset").fetchall()
    numbers = {short_key(key): number for number, key in enumerate(KEYS)}
    return [(offset, numbers[key], *rest) for offset, key, *rest in found]


def test_the_index_holds_every_answer_with_its_place_tokens_and_cost(tmp_path, database):
    path = tmp_path / "votes.jsonl"
    with Journal(path) as journal:
        journal.append(answer(0, System.SYSTEM1, prompt_tokens=10, completion_tokens=2, cost=0.5))
        journal.append(answer(1, None, final=False, prompt_tokens=10, estimated=True))
        third = journal.append(answer(2, None, cut_at=64))
        last = journal.append(answer(1, System.SYSTEM2, prompt_tokens=20, cost=0.125))
        assert journal.read_at(last)["vote"] == "system2"
        assert journal.read_at(0)["text"] == "words 0 ?é"
    index = JournalIndex(database, path)
    found = rows(database)
    assert found[0] == (0, 0, SYSTEM1, 10, 2, 0, 0.5, 0, 1)
    assert found[1][1:] == (1, ASKED_ONCE, 10, 0, 1, None, 0, 1)
    assert found[2] == (third, 2, CUT, 0, 0, 0, None, 64, 1)
    assert found[3] == (last, 1, SYSTEM2, 20, 0, 0, 0.125, 0, 1)
    assert not index.empty
    assert index.teacher_at(third) == "t"
    assert (ASKED_ONCE & 3, CUT & 3) == (UNASKED, NO_VOTE)


def test_what_was_added_since_is_read_on(tmp_path, database):
    path = tmp_path / "votes.jsonl"
    index = JournalIndex(database, path)
    assert index.empty
    assert not path.exists()
    with Journal(path) as journal:
        journal.append(answer(0, System.SYSTEM1))
        assert index.read_on()
        assert not index.read_on()
        second = journal.append(answer(1, System.SYSTEM2))
        with open(path, "ab") as torn:
            torn.write(b'{"key": "12')
        assert index.read_on()
    assert [row[0] for row in rows(database)] == [0, second]
    assert index.damaged == 0


def test_damaged_lines_are_counted_and_skipped(tmp_path, database):
    path = tmp_path / "votes.jsonl"
    with Journal(path) as journal:
        journal.append(answer(0, System.SYSTEM1))
    good = path.read_bytes()
    key = KEYS[1].encode()
    bad = [b"nonsense\n", b"[1]\n", b'{"vote": "system1"}\n', b'{"key": 7, "vote": null}\n']
    bad += [
        b'{"key": "%s", "vote": null, "prompt_tokens": %s}\n' % (key, n) for n in (b'"x"', b"1e30")
    ]
    path.write_bytes(b"".join(bad) + good)
    index = JournalIndex(database, path)
    assert index.damaged == 6
    assert [row[1:3] for row in rows(database)] == [(0, SYSTEM1)]


def test_a_torn_or_damaged_journal_loses_only_the_lines_concerned(tmp_path, corpus):
    folder = run_classify(tmp_path / "run", corpus).folder
    lines = (folder / "votes.jsonl").read_bytes().splitlines(keepends=True)
    lines[3] = b"\0\0 damaged\n"
    (folder / "votes.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    outcome = run_classify(tmp_path / "run", corpus, limit=200)
    counts = outcome.manifest.counts["teachers"].values()
    assert sum(row["asked"] for row in counts) == 2
    assert "1 damaged lines of the journal were skipped" in outcome.manifest.notes
    json.loads((folder / "votes.jsonl").read_bytes().splitlines()[-1])
