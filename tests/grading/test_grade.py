"""Each rule's verdict, and which program a completion stands for."""

import pytest

from lorapar_cli.grading.grade import grade
from lorapar_cli.grading.programs import Code, to_program
from lorapar_cli.grading.sandbox.runner import Limits, find_backend, run_program

CODE = Code(
    prompt="import math\n\ndef half(x):\n    return x / 2\n\ndef root(x):\n    '''The root.'''\n",
    entry_point="root",
    test="def check(candidate):\n    assert candidate(9) == 3\n    assert half(candidate(16)) == 2\n",
)


def test_answers_are_judged_by_both_rules():
    verdicts = grade("answer", ["#### 1,080", "it is 1,080", "no"], ["1080"] * 3)
    assert [v["correct"] for v in verdicts] == [True, True, False]
    assert [v["correct_strict"] for v in verdicts] == [True, False, False]


def test_exact_and_choice():
    assert grade("exact", [" a b\n"], ["a b"])[0]["correct"]
    assert not grade("exact", ["a  b"], ["a b"])[0]["correct"]
    assert grade("choice", ["The answer is (b)"], ["B"])[0]["correct"]
    assert not grade("choice", ["none"], ["B"])[0]["correct"]


@pytest.mark.parametrize(
    "completion",
    [
        "    return math.isqrt(x)\n",
        "def root(x):\n    return math.isqrt(x)\n",
        "Sure:\n```python\nimport math\ndef root(x):\n    return math.isqrt(x)\n```\nDone.",
        "```\n    return math.isqrt(x)\n```",
        "```Python\ndef root(x):\n    return math.isqrt(x)\n```\nThat is it.\n",
        "```python3\ndef root(x):\n    return math.isqrt(x)\n```\nThat is it.\n",
        "```python\ndef root(x):\n    return math.isqrt(x)\n",
        "def helper(x):\n    return math.isqrt(x)\n\ndef root(x):\n    return helper(x)\n",
    ],
)
def test_completions_as_models_write_them_become_programs(completion):
    verdict = run_program(to_program(CODE, completion), find_backend(), Limits())
    assert verdict.passed, verdict.reason


@pytest.mark.parametrize("completion", ["    return x\n", "", "```python\n```", "I cannot."])
def test_wrong_programs_fail(completion):
    (verdict,) = grade("code", [completion], [""], [CODE], find_backend())
    assert not verdict["correct"]
    assert verdict["reason"]
