"""The journal of answers: appended, synced, locked."""

import json

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.votes.journal import Answer, Journal
from lorapar_cli.names import System
from tests.labelling.classify_parts import run_classify, write_questions

KEYS = [f"{i:032x}" for i in range(2)]


def answer(number, vote, **more):
    return Answer(KEYS[number], "t", "m", f"r{number}", vote, f"words {number} \ud800é", **more)


@pytest.mark.parametrize("torn", [b"", b'{"key": "12', b"\0" * 70_000, b"x" * 200_000])
def test_a_torn_last_line_is_removed_and_writing_continues(tmp_path, torn):
    path = tmp_path / "votes.jsonl"
    with Journal(path) as journal:
        journal.append(answer(0, System.SYSTEM1))
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with Journal(path) as journal:
        offset = journal.append(answer(1, System.SYSTEM2))
    assert offset == len(whole)
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["r0", "r1"]


def test_one_process_at_a_time(tmp_path):
    with Journal(tmp_path / "votes.jsonl"), pytest.raises(LoraparError, match="another"):
        Journal(tmp_path / "votes.jsonl")
    Journal(tmp_path / "votes.jsonl").__exit__()


def test_two_runs_at_a_time_on_one_journal_are_refused(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 3)
    journal = Journal(tmp_path / "run" / "classify" / "votes.jsonl")
    with journal, pytest.raises(LoraparError, match="another `lorapar classify` is writing"):
        run_classify(tmp_path / "run", data, ["rules-cues"])
