import json

import numpy as np
import pytest

from lorapar_cli.core.voting import NO_VOTE, SYSTEM1, SYSTEM2, UNASKED
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System
from lorapar_cli.store.journal import ASKED_ONCE, Answer, Journal, JournalIndex, short_key

KEYS = [f"{(i + 1) * 0x123456789ABCDEF:016x}{i:016x}" for i in range(6)]


def answer(number, vote, **more):
    return Answer(KEYS[number], "t", "m", f"r{number}", vote, f"words {number} \ud800é", **more)


def keys(*numbers):
    return np.array([short_key(KEYS[number]) for number in numbers], np.uint64)


def test_the_last_answer_under_a_key_counts_and_sums_cover_all(tmp_path):
    path = tmp_path / "votes.jsonl"
    with Journal(path) as journal:
        journal.append(answer(0, System.SYSTEM1, prompt_tokens=10, completion_tokens=2, cost=0.5))
        journal.append(answer(1, None, final=False, prompt_tokens=10, cost=0.25))
        journal.append(answer(2, None))
        journal.append(answer(3, None, final=False))
        second = journal.append(answer(1, System.SYSTEM2, prompt_tokens=20, cost=0.125))
        assert journal.read_at(second)["vote"] == "system2"
        assert journal.read_at(0)["text"] == "words 0 ?é"
    known = JournalIndex(path).look_up(keys(1, 0, 5, 2, 3, 1))
    assert known.codes.tolist() == [SYSTEM2, SYSTEM1, UNASKED, NO_VOTE, ASKED_ONCE, SYSTEM2]
    assert known.offsets.tolist() == [second, 0, -1, *known.offsets[3:5], second]
    only = JournalIndex(path).look_up(keys(0, 1))
    assert (only.answers, only.prompt_tokens, only.completion_tokens) == (3, 40, 2)
    assert only.cost == 0.875
    assert only.unpriced == (0, 0)
    assert JournalIndex(path).look_up(keys(0, 2)).unpriced == (0, 0)
    with Journal(path) as journal:
        journal.append(answer(4, System.SYSTEM1, prompt_tokens=7, completion_tokens=3))
    assert JournalIndex(path).look_up(keys(0, 4)).unpriced == (7, 3)


def test_a_missing_or_empty_journal_knows_nothing(tmp_path):
    known = JournalIndex(tmp_path / "none.jsonl").look_up(keys(0, 1))
    assert known.codes.tolist() == [UNASKED, UNASKED]
    assert (known.answers, known.cost) == (0, 0.0)
    assert not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize("torn", [b"", b'{"key": "12', b"\0" * 70_000, b"x" * 200_000])
def test_a_torn_last_line_is_cut_off_and_writing_goes_on(tmp_path, torn):
    path = tmp_path / "votes.jsonl"
    with Journal(path) as journal:
        journal.append(answer(0, System.SYSTEM1))
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with Journal(path) as journal:
        offset = journal.append(answer(1, System.SYSTEM2))
    assert offset == len(whole)
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["r0", "r1"]


def test_damaged_lines_are_counted_and_passed_over(tmp_path):
    path = tmp_path / "votes.jsonl"
    with Journal(path) as journal:
        journal.append(answer(0, System.SYSTEM1))
    good = path.read_bytes()
    bad = [b"nonsense\n", b"[1]\n", b'{"vote": "system1"}\n', b'{"key": 7, "vote": null}\n']
    path.write_bytes(b"".join(bad) + good)
    index = JournalIndex(path)
    assert index.damaged == 4
    assert index.look_up(keys(0)).codes.tolist() == [SYSTEM1]


def test_one_process_at_a_time(tmp_path):
    with Journal(tmp_path / "votes.jsonl"), pytest.raises(LoraparError, match="another"):
        Journal(tmp_path / "votes.jsonl")
    Journal(tmp_path / "votes.jsonl").__exit__()
