"""The fields of a sample, and the journal that a killed run resumes from."""

import json
import os

import pytest

from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.sample_journal import (
    Sample,
    SampleJournal,
    describe_sample,
    sample_key,
)
from lorapar_cli.evaluation.tasks.load import load_task
from lorapar_cli.evaluation.tasks.task import Item
from lorapar_cli.grading.grade import Grade, grade
from lorapar_cli.names import Artifact
from lorapar_cli.store.records import write_jsonl


def sample(draw=0, name="base", item="q1"):
    graded = grade("answer", [f"#### {draw}"], ["1"])[0]
    return describe_sample(name, Item(item, "1?", "1"), draw, f"#### {draw}", graded)


def test_a_sample_has_its_fields_in_order_then_the_grade_then_the_groups():
    item = Item("q1", "1+1?", "2", {"system": "system1", "steps": "1"})
    graded = grade("answer", ["#### 2"], ["2"])[0]
    assert list(describe_sample("sft", item, 3, "#### 2", graded).items()) == [
        ("model", "sft"),
        ("id", "q1"),
        ("question", item.digest),
        ("draw", 3),
        ("prompt", "1+1?"),
        ("completion", "#### 2"),
        ("reference", "2"),
        ("extracted", "2"),
        ("correct", True),
        ("extracted_strict", "2"),
        ("correct_strict", True),
        ("system", "system1"),
        ("steps", "1"),
    ]


def test_the_type_of_a_sample_names_every_field_of_a_grade():
    fields = Sample.__required_keys__ | Sample.__optional_keys__
    assert Grade.__required_keys__ <= Sample.__required_keys__
    assert Grade.__optional_keys__ <= Sample.__optional_keys__
    assert set(sample()) <= fields


@pytest.mark.parametrize(
    ("options", "row"),
    [
        ({"task": "data"}, {"question": "q", "answer": "#### 1", "label": "system2", "steps": 2}),
        ({"task": "gsm8k"}, {"question": "q", "answer": "#### 1"}),
        (
            {"task": "mmlu", "num_fewshot": 0},
            {"subject": "anatomy", "question": "q", "choices": ["w", "x", "y", "z"], "answer": 1},
        ),
        (
            {"task": "humaneval"},
            {"task_id": "T/0", "prompt": "def f():\n", "entry_point": "f", "test": "f()"},
        ),
    ],
    ids=lambda value: value.get("task"),
)
def test_the_type_of_a_sample_names_every_tasks_groups(tmp_path, options, row):
    write_jsonl(tmp_path / "rows.jsonl", [row])
    (item,) = load_task(EvalOptions(data=str(tmp_path / "rows.jsonl"), **options)).items
    assert set(item.groups) <= Sample.__optional_keys__


def test_a_journal_is_read_back_and_continued(tmp_path):
    journal = SampleJournal(tmp_path)
    journal.append([sample(0), sample(1)])
    with open(tmp_path / Artifact.SAMPLES, "a", encoding="utf-8") as file:
        file.write('{"model": "base", "id": "q1", "dr')
    again = SampleJournal(tmp_path)
    assert list(again.known) == [("base", "q1", 0), ("base", "q1", 1)]
    assert again.known == journal.known
    again.append([sample(2)])
    lines = (tmp_path / Artifact.SAMPLES).read_text(encoding="utf-8").splitlines()
    assert [sample_key(json.loads(line)) for line in lines] == list(again.known)


def test_processes_keep_files_of_their_own_and_read_the_others(tmp_path):
    first, second = SampleJournal(tmp_path), SampleJournal(tmp_path, rank=1)
    first.append([sample(0)])
    second.append([sample(1)])
    assert set(first.known) == {("base", "q1", 0)}
    first.read_others()
    assert set(first.known) == {("base", "q1", 0), ("base", "q1", 1)}
    assert SampleJournal(tmp_path).known == first.known
    first.remove_others()
    assert [path.name for path in tmp_path.glob("*.jsonl")] == [Artifact.SAMPLES]


def swap_answer(path):
    path.write_bytes(path.read_bytes().replace(b"#### 1", b"#### 7"))


def turn_round(path):
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[::-1]))


def put_pipe(path):
    path.unlink()
    os.mkfifo(path)


def put_folder(path):
    path.unlink()
    path.mkdir()


def link_nowhere(path):
    path.unlink()
    path.symlink_to("/nonexistent/samples")


@pytest.mark.parametrize("name", [Artifact.SAMPLES, "unfinished-samples.txt"])
@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (swap_answer, 1),
        (lambda path: path.write_bytes(bytes(50)), 0),
        (lambda path: path.unlink(), 0),
        (turn_round, 3),
        (put_pipe, 0),
        (put_folder, 0),
        (link_nowhere, 0),
    ],
)
def test_what_was_damaged_since_is_completed_again(tmp_path, name, damage, left):
    journal = SampleJournal(tmp_path)
    journal.append([sample(0)])
    journal.append([sample(1), sample(2)])
    if (name, damage) == ("unfinished-samples.txt", swap_answer):
        left = 3  # There is no answer in it.
    damage(tmp_path / name)
    again = SampleJournal(tmp_path)
    assert len(again.known) == left
    assert all(journal.known[key] == value for key, value in again.known.items())
    again.append([each for key, each in journal.known.items() if key not in again.known])
    assert SampleJournal(tmp_path).known == journal.known


def test_half_a_surrogate_pair_comes_back_as_it_was(tmp_path):
    odd = sample() | {"completion": "\ud83d and \x00"}
    SampleJournal(tmp_path).append([odd])
    assert SampleJournal(tmp_path).known[sample_key(odd)] == odd


def test_the_digest_is_that_of_the_question_however_it_is_asked():
    shown = Item("q1", "Question: 0?\n0\n\nQuestion: 1+1?", "2", question="1+1?")
    assert shown.digest == Item("q9", "1+1?", "3").digest
    assert shown.digest != Item("q1", "1+1", "2").digest
