"""The fields of a sample, and the journal that a killed run resumes from."""

import json

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
            {"task_id": "T/0", "prompt": "def f():\n", "entry_point": "f", "test": ""},
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
    first.remove_others()
    assert [path.name for path in tmp_path.iterdir()] == [Artifact.SAMPLES]
