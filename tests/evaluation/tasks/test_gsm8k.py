"""GSM8K from local files: prompts of both styles, examples, groups."""

import random

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.tasks.gsm8k import load_gsm8k
from lorapar_cli.store.records import write_jsonl


def load(**options):
    return load_gsm8k(EvalOptions(**({"task": "gsm8k", "data": "gsm8k.jsonl"} | options)))


def test_as_the_model_was_trained(files):
    task = load()
    assert task.items[2].prompt == "What is 2+2?"
    assert task.items[2].reference == "4"
    assert (task.match, task.plain, task.stop) == ("answer", False, [])
    turns = load(fewshot_data="gsm8k.jsonl", num_fewshot=1).items[0].prompt
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[-1]["content"] == "What is 0+0?"


def test_as_the_harness_prompts(files):
    task = load(num_fewshot=0, style="harness")
    assert task.items[2].prompt == "Question: What is 2+2?\nAnswer:"
    assert task.plain
    assert "Question:" in task.stop


def test_examples_are_drawn_as_the_harness_draws_them(files, questions):
    task = load(fewshot_data="gsm8k.jsonl", style="harness", limit=3)
    assert (len(task.items), task.num_fewshot) == (3, 5)
    generator = random.Random(1234)
    for item, row in zip(task.items, questions, strict=False):
        shown = generator.sample(questions, 5)
        if row in shown:
            continue
        expected = "".join(f"Question: {e['question']}\nAnswer: {e['answer']}\n\n" for e in shown)
        assert item.prompt == f"{expected}Question: {row['question']}\nAnswer:"


def test_the_question_is_never_among_its_examples(files, questions):
    respelled = [row | {"question": row["question"].upper() + " "} for row in questions]
    write_jsonl(files / "train.jsonl", respelled)
    task = load(fewshot_data="train.jsonl", style="harness", num_fewshot=8)
    assert task.redrawn
    for item, row, shown in zip(task.items, questions, task.shown, strict=True):
        asked = row["question"].upper()
        assert len({example["question"] for example in shown}) == 8
        assert item.prompt.upper().count(asked) == 1
    with pytest.raises(LoraparError, match="has 8 examples besides itself, not 9"):
        load(fewshot_data="train.jsonl", num_fewshot=9)


def test_other_questions_keep_their_examples(files, questions):
    pool = [{"question": f"Why {n}?", "answer": f"#### {n}"} for n in range(20)]
    write_jsonl(files / "train.jsonl", pool)
    before = load(fewshot_data="train.jsonl", num_fewshot=3)
    assert not before.redrawn
    drawn = before.shown[0][0]
    write_jsonl(files / "gsm8k.jsonl", [drawn, *questions[1:]])
    after = load(fewshot_data="train.jsonl", num_fewshot=3)
    assert drawn not in after.shown[0]
    assert after.shown[1:] == before.shown[1:]


def test_ids_and_groups_where_rows_have_them(files, questions):
    row = questions[0] | {"id": "x", "label": "system2", "steps": 3}
    write_jsonl(files / "gsm8k.jsonl", [row, questions[1]])
    first, second = load().items
    assert (first.id, first.groups) == ("x", {"system": "system2", "steps": "3"})
    assert (second.id, second.groups) == ("1", {})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data": "mmlu.jsonl", "style": "harness"}, UsageError, "no examples"),
        ({"data": "mmlu.jsonl"}, LoraparError, "record 1 of `mmlu.jsonl` has no final answer"),
        ({"fewshot_data": "gsm8k.jsonl", "num_fewshot": 10}, LoraparError, "has 9 examples"),
    ],
)
def test_refused(files, options, error, message):
    with pytest.raises(error, match=message):
        load(**options)
