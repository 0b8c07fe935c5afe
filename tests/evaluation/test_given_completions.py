"""Completions from a file: which are refused, and that none is graded twice."""

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.given_completions import grade_completions, read_completions
from lorapar_cli.evaluation.sample_journal import SampleJournal
from lorapar_cli.evaluation.tasks.task import Item, Task
from lorapar_cli.store.records import write_jsonl

TASK = Task("gsm8k", "answer", [Item("0", "0+0?", "0"), Item("1", "1+1?", "2")], {})


def test_completions_are_read_by_either_name_of_the_id(tmp_path):
    path = tmp_path / "completions.jsonl"
    rows = [{"id": "0", "completion": "a"}, {"task_id": 1, "completion": "b"}]
    write_jsonl(path, [*rows, {"id": 0, "completion": "c"}])
    assert read_completions(path, TASK) == {"0": ["a", "c"], "1": ["b"]}
    with pytest.raises(UsageError, match="needs at least that many") as caught:
        read_completions(path, TASK, (1, 2))
    assert "`1` has 1" in caught.value.found


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": 0, "completion": "a"}], "1 of 2 items has no completion"),
        ([{"id": 9, "completion": "a"}], "completes `9`, which the task does not contain"),
        ([{"id": 0, "text": "a"}], "`.*:1` is not a completion"),
        ([{"id": 0, "completion": 1}], "`.*:1` is not a completion"),
    ],
)
def test_refused(tmp_path, rows, message):
    write_jsonl(tmp_path / "completions.jsonl", rows)
    with pytest.raises(LoraparError, match=message):
        read_completions(tmp_path / "completions.jsonl", TASK)


def test_only_what_the_journal_lacks_is_graded(tmp_path):
    events = []
    completions = {"0": ["#### 0", "#### 1"], "1": ["#### 2"]}
    grade_completions(TASK, completions, None, SampleJournal(tmp_path), events.append)
    assert [(event.done, event.total) for event in events] == [(3, 3)]
    journal = SampleJournal(tmp_path)
    found = {(item, draw): s["correct"] for (_, item, draw), s in journal.known.items()}
    assert found == {("0", 0): True, ("0", 1): False, ("1", 0): True}
    del journal.known["completions", "0", 1]
    grade_completions(TASK, completions, None, journal, events.append)
    assert (events[1].done, events[1].total) == (1, 1)
    assert len(journal.known) == 3


def test_a_completion_may_have_half_a_surrogate_pair(tmp_path):
    path = tmp_path / "completions.jsonl"
    path.write_text(
        '{"id": 0, "completion": "#### 0 \\ud83d"}\n{"id": 1, "completion": "\\u0000"}\n'
    )
    completions = read_completions(path, TASK)
    assert completions == {"0": ["#### 0 \ud83d"], "1": ["\x00"]}
    journal = SampleJournal(tmp_path)
    grade_completions(TASK, completions, None, journal, lambda _: None)
    assert len(SampleJournal(tmp_path).known) == 2
