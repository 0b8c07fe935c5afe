"""One pass over the data."""

import pytest

from lorapar_cli.errors import LoraparError
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
