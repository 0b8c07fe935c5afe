"""The `code` reward on right, wrong and hostile completions."""

import json

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.sandbox.runner import Limits, Sandbox, find_backend
from lorapar_cli.store.records import Record
from lorapar_cli.training.rewards.code import (
    check_record_tests,
    code_reward,
    describe_tests,
    with_tests,
)

TESTS = describe_tests(
    {
        "task_id": "T/0",
        "prompt": "def double(x):\n    '''Twice x.'''\n",
        "entry_point": "double",
        "test": "def check(candidate):\n    assert candidate(4) == 8\n",
    }
)


def test_one_for_programs_that_pass():
    reward = code_reward(Sandbox(find_backend(), Limits(seconds=5)))
    completions = [
        "    return 2 * x\n",
        "```python\ndef double(x):\n    return x + x\n```",
        "    return 9\n",
        "    import os\n    os._exit(0)\n",
        "",
    ]
    assert reward(completions, [TESTS] * 5) == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_tests_of_a_record_become_its_reference():
    extra = {"entry_point": "f", "test": "def check(f): ..."}
    record = with_tests(Record("a", "def f():\n", "    return 1\n", "1", extra=extra))
    expected = {"prompt": "def f():\n", **extra}
    assert json.loads(record.reference_answer) == expected
    several = Record("a", "def f():\n", "1", "1", reference_answers=["1", "one"], extra=extra)
    assert with_tests(several).accepted_answers == [record.reference_answer]
    plain = Record("b", "1+1?", "2", "2", extra={"entry_point": "f"})
    assert with_tests(plain) is plain


@pytest.mark.parametrize("reference", [None, "8", "[]", '{"prompt": ""}'])
def test_a_record_without_tests_is_an_error(reference):
    with pytest.raises(LoraparError, match="no tests for the reward"):
        code_reward(Sandbox(find_backend()))(["x"], [reference])


@pytest.mark.parametrize("test", ["", "assert True", "def check(candidate):\n    pass\n"])
def test_tests_that_every_program_passes_are_refused_before_training(test):
    extra = {"entry_point": "f", "test": test}
    good = with_tests(Record("a", "def f():\n", "", extra=extra | {"test": "assert f() == 1\n"}))
    check_record_tests([good])
    empty = with_tests(Record("b", "def f():\n", "", extra=extra))
    with pytest.raises(LoraparError, match="tests of record `b` test nothing"):
        check_record_tests([good, empty])
    reward = code_reward(Sandbox(find_backend()))
    with pytest.raises(LoraparError, match="test nothing"):
        reward(["    return 1\n"], [empty.reference_answer])


def test_a_lone_surrogate_in_a_record_is_text():
    extra = {
        "entry_point": "f",
        "test": "def check(candidate):\n    assert candidate() == '\ud800'\n",
    }
    record = with_tests(Record("a", "def f():\n", "", extra=extra))
    reward = code_reward(Sandbox(find_backend()))
    completions = ["    return '\\ud800'\n", "    return ''  # \udfff\n"]
    assert reward(completions, [record.reference_answer] * 2) == [1.0, 0.0]
