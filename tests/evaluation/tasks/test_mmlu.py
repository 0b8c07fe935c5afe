"""MMLU from local files: prompts, letters, groups, examples."""

import csv
import json

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.tasks.mmlu import load_mmlu
from lorapar_cli.store.records import write_jsonl


def load(**options):
    return load_mmlu(EvalOptions(**({"task": "mmlu", "data": "mmlu.jsonl"} | options)))


def test_prompt_letters_and_groups(files):
    task = load(fewshot_data="mmlu.jsonl", num_fewshot=1)
    assert (task.match, task.plain, task.num_fewshot) == ("likelihood", True, 1)
    item = task.items[5]
    assert item.prompt == (
        "The following are multiple choice questions (with answers) about formal logic.\n\n"
        "Pick 0\nA. w\nB. x\nC. y\nD. z\nAnswer: A\n\n"
        "Pick 1\nA. w\nB. x\nC. y\nD. z\nAnswer:"
    )
    assert item.id == "formal_logic/5"
    assert item.reference == "B"
    assert item.choices == (" A", " B", " C", " D")
    assert item.groups == {"subject": "formal_logic", "group": "humanities"}


def test_no_question_is_shown_its_own_answer(files):
    item = load(fewshot_data="mmlu.jsonl", num_fewshot=1).items[4]
    assert "Pick 1\n" in item.prompt.partition("Answer: B")[0]


def test_the_question_in_another_file_and_spelling_is_no_example(files, choices):
    again = choices[1] | {"question": "PICK  1", "choices": ["z", "Y", "x", "w"], "answer": 2}
    namesake = choices[1] | {"choices": ["k", "l", "m", "n"]}
    write_jsonl(files / "anatomy.jsonl", choices[:4])
    write_jsonl(files / "dev.jsonl", [again, namesake, *choices[2:4]])
    task = load(limit=2, fewshot_data="dev.jsonl", num_fewshot=2, data="anatomy.jsonl")
    assert task.redrawn
    assert task.shown[1] == [namesake, choices[2]]
    assert task.shown[0] == [again, namesake]
    with pytest.raises(LoraparError, match="`anatomy` has 3 examples besides the question itself"):
        load(fewshot_data="dev.jsonl", num_fewshot=4, data="anatomy.jsonl")


def test_a_limit_is_per_subject_and_keeps_ids(files):
    task = load(num_fewshot=0, limit=2)
    ids = ["anatomy/0", "anatomy/1", "formal_logic/4", "formal_logic/5"]
    assert [item.id for item in task.items] == ids
    assert [row["question"] for row in task.questions] == [" Pick 0 ", " Pick 1 "] * 2


def test_as_published(files, choices):
    for split, rows in (("dev", choices[:2]), ("test", choices[2:4])):
        (files / "data" / split).mkdir(parents=True)
        with open(files / "data" / split / f"anatomy_{split}.csv", "w", newline="") as file:
            csv.writer(file).writerows(
                [row["question"], *row["choices"], "ABCD"[row["answer"]]] for row in rows
            )
    task = load(data="data", num_fewshot=2)
    assert [item.reference for item in task.items] == ["C", "D"]
    assert set(task.inputs) == {"test/anatomy_test.csv", "fewshot/dev/anatomy_dev.csv"}


def test_choices_may_be_json_in_a_text(files, choices):
    rows = [row | {"choices": json.dumps(row["choices"])} for row in choices]
    write_jsonl(files / "texts.jsonl", rows)
    assert load(data="texts.jsonl", num_fewshot=0).items == load(num_fewshot=0).items


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "gsm8k.jsonl", "num_fewshot": 0}, "is not a valid row"),
        ({"fewshot_data": "mmlu.jsonl"}, "has 3 examples besides the question itself, not 5"),
    ],
)
def test_refused(files, options, message):
    with pytest.raises(LoraparError, match=message):
        load(**options)
