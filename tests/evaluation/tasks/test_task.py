"""Items, examples and grades."""

import pytest

from lorapar_cli.errors import UsageError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.tasks.task import Item, fewshot_source, grade_items


def test_chat_messages_are_not_text():
    assert Item("a", "1+1?", "2").text == "1+1?"
    with pytest.raises(AssertionError):
        _ = Item("a", [{"role": "user", "content": "1+1?"}], "2").text


def test_examples_of_local_questions_must_be_named():
    assert fewshot_source(EvalOptions(task="gsm8k"), "train.jsonl") is None
    named = EvalOptions(task="gsm8k", data="mine.jsonl", fewshot_data="others.jsonl")
    assert fewshot_source(named, "train.jsonl") == "others.jsonl"
    with pytest.raises(UsageError, match="no examples") as caught:
        fewshot_source(EvalOptions(task="gsm8k", data="mine.jsonl"), "train.jsonl")
    assert "train.jsonl" in caught.value.hint


def test_each_completion_is_graded_against_its_own_reference():
    items = [Item("a", "1+1?", "2"), Item("b", "1+2?", "3")]
    assert [grade["correct"] for grade in grade_items("answer", items, ["#### 2", "#### 2"])] == [
        True,
        False,
    ]
