"""The journal's answers by key: what is read, what is skipped."""

import json

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.scratch_database import scratch_database
from lorapar_cli.labelling.votes.journal import Answer, Journal
from lorapar_cli.labelling.votes.journal_index import ASKED_ONCE, CUT, JournalIndex, short_key
from lorapar_cli.labelling.votes.voting import NO_VOTE, SYSTEM1, SYSTEM2, UNASKED
from lorapar_cli.names import System
from tests.labelling.classify_parts import run_classify
from tests.store.disk.test_small_text import make

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
    assert "1 damaged line of the journal was skipped" in outcome.manifest.notes
    assert "the first damaged line is `votes.jsonl:4`" in outcome.manifest.notes
    json.loads((folder / "votes.jsonl").read_bytes().splitlines()[-1])


STRANGE = {
    "deep": b"[" * 100_000,
    "deep in a field": b'{"key": "%s", "vote": null, "x": ' + b"[" * 100_000,
    "a key that begins with a dash": b'{"key": "-%s", "vote": "system1"}' % KEYS[1][1:].encode(),
    "capitals": b'{"key": "%s", "vote": "system1"}' % (b"AB" * 16),
    "short key": b'{"key": "12", "vote": "system1"}',
    "null key": b'{"key": null, "vote": "system1"}',
    "endless tokens": b'{"key": "%s", "vote": null, "prompt_tokens": Infinity}',
    "negative tokens": b'{"key": "%s", "vote": null, "prompt_tokens": -1, "completion_tokens": 5}',
    "NaN dollars": b'{"key": "%s", "vote": null, "cost": NaN}',
    "endless dollars": b'{"key": "%s", "vote": null, "cost": 1e999}',
    "dollars earned": b'{"key": "%s", "vote": null, "cost": -1}',
    "many digits": b'{"key": "%s", "vote": null, "cost": ' + b"9" * 10_000 + b"}",
    "a list as vote": b'{"key": "%s", "vote": []}',
    "UTF-16": '{"key": 1}'.encode("utf-16-le"),
    "not UTF-8": b'{"key": "\xff"}',
    "a million characters": b"x" * 1_000_000,
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_line_is_damaged_and_named_and_the_others_count(tmp_path, database, kind):
    path = tmp_path / "votes.jsonl"
    with Journal(path) as journal:
        journal.append(answer(0, System.SYSTEM1))
        journal.append(answer(2, System.SYSTEM2))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + STRANGE[kind].replace(b"%s", KEYS[1].encode()) + b"\n" + second)
    index = JournalIndex(database, path)
    assert (index.damaged, index.first_damaged) == (1, 2)
    assert [row[1] for row in rows(database)] == [0, 2]


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "endless"])
def test_a_journal_that_is_no_file_is_refused_at_once(tmp_path, database, kind):
    path = tmp_path / "votes.jsonl"
    make(kind, path)
    with pytest.raises(LoraparError, match=r"votes\.jsonl"):
        JournalIndex(database, path)
    with pytest.raises(LoraparError, match=r"votes\.jsonl"):
        Journal(path)


def test_a_journal_that_an_editor_saved_as_utf16_is_refused_and_not_paid_for_again(
    tmp_path, corpus
):
    folder = run_classify(tmp_path / "run", corpus).folder
    path = folder / "votes.jsonl"
    path.write_text(path.read_text(), encoding="utf-16")
    with pytest.raises(LoraparError, match="not UTF-8"):
        run_classify(tmp_path / "run", corpus, limit=50)


def test_an_answer_that_vanished_during_the_run_is_an_error_and_no_endless_loop(tmp_path):
    path = tmp_path / "votes.jsonl"
    with Journal(path) as journal:
        offset = journal.append(answer(0, System.SYSTEM1))
        path.write_bytes(b"")
        with pytest.raises(LoraparError, match="changed by another program"):
            journal.read_at(offset)
