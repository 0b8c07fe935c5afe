"""Tasks from local files: prompts as published, references, groups, and what is refused."""

import csv
import gzip
import json
import random

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.given_completions import read_completions
from lorapar_cli.evaluation.tasks import mmlu_format as mmlu
from lorapar_cli.evaluation.tasks.load import load_task
from lorapar_cli.evaluation.tasks.task import TaskOptions
from lorapar_cli.store.records import write_jsonl
from tests.shared_data import SHARED_DATA

QUESTIONS = [
    {"question": f"What is {n}+{n}?", "answer": f"{n}+{n}={2 * n}\n#### {2 * n}"} for n in range(9)
]
CHOICES = [
    {
        "subject": subject,
        "question": f" Pick {n} ",
        "choices": ["w", "x", "y", "z"],
        "answer": n % 4,
    }
    for subject in ("anatomy", "formal_logic")
    for n in range(4)
]


@pytest.fixture
def files(tmp_path):
    write_jsonl(tmp_path / "gsm8k.jsonl", QUESTIONS)
    write_jsonl(tmp_path / "mmlu.jsonl", CHOICES)
    return tmp_path


def test_gsm8k_as_the_model_was_trained_and_as_the_harness_asks(files):
    path = str(files / "gsm8k.jsonl")
    trained = load_task(TaskOptions("gsm8k", path))
    assert trained.items[2].prompt == "What is 2+2?"
    assert trained.items[2].reference == "4"
    assert not trained.plain
    turns = load_task(TaskOptions("gsm8k", path, fewshot_data=path, num_fewshot=1)).items[0].prompt
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    plain = load_task(TaskOptions("gsm8k", path, num_fewshot=0, style="harness"))
    assert plain.items[2].prompt == "Question: What is 2+2?\nAnswer:"
    assert plain.plain
    assert "Question:" in plain.stop


def test_examples_are_drawn_as_the_harness_draws_them(files):
    path = str(files / "gsm8k.jsonl")
    task = load_task(TaskOptions("gsm8k", path, fewshot_data=path, style="harness", limit=3))
    chance = random.Random(1234)
    for item, row in zip(task.items, QUESTIONS, strict=False):
        shown = chance.sample(QUESTIONS, 5)
        expected = "".join(f"Question: {e['question']}\nAnswer: {e['answer']}\n\n" for e in shown)
        assert item.prompt == f"{expected}Question: {row['question']}\nAnswer:"


def test_mmlu_prompt_letters_and_groups(files):
    path = str(files / "mmlu.jsonl")
    task = load_task(TaskOptions("mmlu", path, fewshot_data=path, num_fewshot=1))
    item = task.items[5]
    assert item.prompt == (
        "The following are multiple choice questions (with answers) about formal logic.\n\n"
        "Pick 0\nA. w\nB. x\nC. y\nD. z\nAnswer: A\n\n"
        "Pick 1\nA. w\nB. x\nC. y\nD. z\nAnswer:"
    )
    assert item.reference == "B"
    assert item.choices == (" A", " B", " C", " D")
    assert item.groups == {"subject": "formal_logic", "group": "humanities"}
    # A question that is its own example would be shown its answer.
    assert "Pick 1\n" in task.items[4].prompt.partition("Answer: B")[0]


def test_mmlu_as_published(files):
    for split, rows in (("dev", CHOICES[:2]), ("test", CHOICES[2:4])):
        (files / "data" / split).mkdir(parents=True)
        with open(files / "data" / split / f"anatomy_{split}.csv", "w", newline="") as file:
            csv.writer(file).writerows(
                [row["question"], *row["choices"], "ABCD"[row["answer"]]] for row in rows
            )
    task = load_task(TaskOptions("mmlu", str(files / "data"), num_fewshot=2))
    assert [item.reference for item in task.items] == ["C", "D"]
    assert set(task.inputs) == {"test/anatomy_test.csv", "fewshot/dev/anatomy_dev.csv"}


def test_humaneval_as_published_is_packed(files):
    row = {"task_id": "HumanEval/0", "prompt": "def f():\n", "entry_point": "f", "test": "",
           "canonical_solution": "    return 1\n"}  # fmt: skip
    with gzip.open(files / "HumanEval.jsonl.gz", "wt") as file:
        file.write(json.dumps(row) + "\n")
    packed = TaskOptions("humaneval", str(files / "HumanEval.jsonl.gz"), style="harness")
    (item,) = load_task(packed).items
    assert (item.id, item.prompt, item.code.entry_point) == ("HumanEval/0", "def f():\n", "f")
    (files / "HumanEval.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(LoraparError, match="cannot read"):
        load_task(packed)


def test_mmlu_has_its_57_subjects():
    assert len(mmlu.GROUP_OF) == 57


@pytest.mark.shared_data("mmlu")
def test_mmlu_has_the_subjects_that_are_published():
    lines = (SHARED_DATA / "mmlu" / "dev.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["subject"] for line in lines} == set(mmlu.GROUP_OF)


def test_own_records_exact_and_choice(files):
    path = files / "own.jsonl"
    write_jsonl(path, [{"instruction": "Say hi", "output": " hi there "}])
    assert load_task(TaskOptions("data", str(path), match="exact")).items[0].reference == "hi there"
    rows = [{"question": "Pick", "choices": ["x", "y"], "answer": 1}]
    write_jsonl(path, rows)
    assert load_task(TaskOptions("data", str(path), match="choice")).items[0].reference == "B"


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (TaskOptions("gsm9k"), UsageError, "did you mean `gsm8k`"),
        (TaskOptions("gsm8k", style="harnes"), UsageError, "did you mean `harness`"),
        (TaskOptions("data", match="exakt"), UsageError, "did you mean `exact`"),
        (TaskOptions("data"), UsageError, "no records are named"),
        (TaskOptions("data", "gsm8k.jsonl", style="harness"), UsageError, "has no `--style`"),
        (TaskOptions("humaneval", num_fewshot=2), UsageError, "has no `--num-fewshot`"),
        (TaskOptions("gsm8k", match="exact"), UsageError, "has no `--match`"),
        (TaskOptions("gsm8k", "mmlu.jsonl", style="harness"), UsageError, "no examples"),
        (TaskOptions("gsm8k", "mmlu.jsonl"), LoraparError, "no final answer"),
        (TaskOptions("mmlu", "gsm8k.jsonl", num_fewshot=0), LoraparError, "cannot be used"),
        (TaskOptions("mmlu", "mmlu.jsonl", "mmlu.jsonl"), LoraparError, "has 3 examples, not 5"),
        (TaskOptions("humaneval", "gsm8k.jsonl"), LoraparError, "`task_id` is missing"),
        (TaskOptions("gsm8k", "gsm8k.jsonl", "gsm8k.jsonl", 10), LoraparError, "has 9 examples"),
    ],
)
def test_refused(files, monkeypatch, asked, error, message):
    monkeypatch.chdir(files)
    with pytest.raises(error) as caught:
        load_task(asked)
    assert message in str(caught.value)


def test_completions_must_answer_every_item_and_nothing_else(files):
    task = load_task(TaskOptions("gsm8k", str(files / "gsm8k.jsonl"), limit=2))
    path = files / "completions.jsonl"
    write_jsonl(path, [{"id": "0", "completion": "a"}, {"task_id": 1, "completion": "b"},
                       {"id": 0, "completion": "c"}])  # fmt: skip
    assert read_completions(path, task) == {"0": ["a", "c"], "1": ["b"]}
    for rows, message in (
        ([{"id": 0, "completion": "a"}], "1 of 2 items have no completion"),
        ([{"id": 9, "completion": "a"}], "answers `9`"),
        ([{"id": 0, "text": "a"}], "is no completion"),
    ):
        write_jsonl(path, rows)
        with pytest.raises(LoraparError, match=message):
            read_completions(path, task)
