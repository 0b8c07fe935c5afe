"""One pass over the data."""

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Advance, Note
from lorapar_cli.labelling.votes.record_index import draw
from tests.labelling.classify_parts import read_lines, run_classify, write_questions, write_rows


def test_repeated_ids_do_not_merge_records(tmp_path):
    rows = [
        {"id": "a", "question": "What is 1 + 1?", "answer": "#### 2"},
        {"id": "a#2", "question": "What is 2 + 1?", "answer": "#### 3"},
        {"id": "a", "question": "What is 3 + 1?", "answer": "#### 4"},
        {"id": "a", "question": "What is 1 + 1?", "answer": "#### 2"},
    ]
    data = write_rows(tmp_path / "data.jsonl", rows)
    outcome = run_classify(tmp_path / "run", data, holdout=0.0)
    lines = read_lines(outcome.folder / "labels.jsonl")
    assert [line["id"] for line in lines] == ["a", "a#2", "a#3", "a#4"]
    assert [line["reference_answer"] for line in lines] == ["2", "3", "4", "2"]
    assert outcome.manifest.counts["repeated_ids"] == 2
    assert outcome.manifest.counts["repeated_records"] == 1
    # The fourth record is the first one again: it is not asked about a second time.
    assert len(read_lines(outcome.folder / "votes.jsonl")) == 9


def test_data_that_changes_while_it_is_read_is_an_error(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 40)
    lines = data.read_text(encoding="utf-8").splitlines()

    def progress(event):
        if event.task == "reading" and event.total is not None:
            data.write_text("\n".join(lines[:20]) + "\n", encoding="utf-8")

    with pytest.raises(LoraparError, match="changed while it was read"):
        run_classify(tmp_path / "run", data, progress=progress)


def test_draws_depend_on_name_seed_and_purpose():
    draws = {draw(name, seed, use) for name in "ab" for seed in (0, 1) for use in ("x", "y")}
    assert len(draws) == 8
    assert draw("a", 0, "x") == draw("a", 0, "x") < 2**64


def test_what_is_missing_in_the_data_is_said_before_anyone_is_asked(tmp_path):
    rows = [
        {"question": "What is 1 + 1?", "answer": "#### 2", "hint": "Count."},
        {"question": "Why is the sky blue?", "answer": "It has to do with light and air."},
        {"question": "Who sang?", "context": "Ann sang.", "answer": "Ann"},
    ]
    events = []
    outcome = run_classify(
        tmp_path / "run", write_rows(tmp_path / "d.jsonl", rows), progress=events.append
    )
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes == [
        "1 of 3 records has no reference answer, which `train-rl` and `eval` need; "
        "`--answer-field` names the field that holds it",
        "field `hint` looks like part of the question and is not used (1 row)",
    ]
    asked = [i for i, e in enumerate(events) if isinstance(e, Advance) and e.task != "reading"]
    assert max(i for i, e in enumerate(events) if isinstance(e, Note)) < min(asked)
    counts = outcome.manifest.counts
    assert (counts["without_reference"], counts["unused_fields"]) == (1, {"hint": 1})


def test_the_answer_field_and_turns_reach_the_records(tmp_path):
    rows = [{"question": "q", "answer": "It is a long story.", "gold": ["a", "b"]}]
    data = write_rows(tmp_path / "d.jsonl", rows)
    outcome = run_classify(tmp_path / "run", data, holdout=0.0, answer_field="gold")
    (line,) = read_lines(outcome.folder / "labels.jsonl")
    assert (line["reference_answer"], line["reference_answers"]) == ("a", ["a", "b"])


def test_turns_of_one_conversation_are_held_out_together(tmp_path):
    rows = [
        {
            "id": f"c{number}",
            "messages": [
                {"role": role, "content": f"{role} {number} {turn}"}
                for turn in range(3)
                for role in ("user", "assistant")
            ],
        }
        for number in range(40)
    ]
    data = write_rows(tmp_path / "d.jsonl", rows)
    outcome = run_classify(tmp_path / "run", data, holdout=0.2, turns="all")
    held = [line["id"] for line in read_lines(outcome.folder / "heldout.jsonl")]
    kept = [line["id"] for line in read_lines(outcome.folder / "labels.jsonl")]
    assert len(held) == 24
    assert len(kept) == 96
    conversations = {name.partition("/")[0] for name in held}
    assert sorted(held) == sorted(f"{name}/{turn}" for name in conversations for turn in (1, 2, 3))
