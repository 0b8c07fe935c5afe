"""Which program a completion stands for."""

import pytest

from lorapar_cli.grading.programs import Code, to_program
from lorapar_cli.grading.sandbox.runner import Limits, Program, find_backend, run_program

CODE = Code(
    prompt="import math\n\ndef half(x):\n    return x / 2\n\ndef root(x):\n    '''The root.'''\n",
    entry_point="root",
    test="def check(candidate):\n    assert candidate(9) == 3\n    assert half(candidate(16)) == 2\n",
)
SETUP = f"{CODE.prompt.rstrip()}\n    pass\n"
BODY = "    return math.isqrt(x)\n"


@pytest.mark.parametrize(
    "completion",
    [
        BODY,
        "def root(x):\n    return math.isqrt(x)\n",
        "Sure:\n```python\nimport math\ndef root(x):\n    return math.isqrt(x)\n```\nDone.",
        "```\n    return math.isqrt(x)\n```",
        "```Python\ndef root(x):\n    return math.isqrt(x)\n```\nThat is it.\n",
        "```python3\ndef root(x):\n    return math.isqrt(x)\n```\nThat is it.\n",
        "```python\ndef root(x):\n    return math.isqrt(x)\n",
        "def helper(x):\n    return math.isqrt(x)\n\ndef root(x):\n    return helper(x)\n",
    ],
)
def test_completions_as_models_write_them_pass(completion):
    result = run_program(to_program(CODE, completion), find_backend(), Limits())
    assert result.passed, result.reason


@pytest.mark.parametrize("completion", ["    return x\n", "", "```python\n```", "I cannot."])
def test_wrong_completions_fail_with_a_reason(completion):
    result = run_program(to_program(CODE, completion), find_backend(), Limits())
    assert not result.passed
    assert result.reason


def test_a_body_continues_the_prompt():
    assert to_program(CODE, BODY) == Program(CODE.prompt + BODY, "root", SETUP, CODE.test)


@pytest.mark.parametrize("definition", ["def root(x):\n    return 3\n", "async def root(x): ...\n"])
def test_a_definition_follows_the_prompts_imports_and_functions(definition):
    program = to_program(CODE, definition)
    assert program.text == f"{SETUP}\n{definition}"


def test_a_function_whose_name_only_begins_like_the_entry_point_is_no_definition():
    text = "    return roots(x)\n\ndef roots(x):\n    return 3\n"
    assert to_program(CODE, text).text == CODE.prompt + text


def test_of_several_fenced_blocks_the_first_counts():
    completion = "```python\n    return 1\n```\nor\n```python\n    return 2\n```\n"
    assert to_program(CODE, completion).text == CODE.prompt + "    return 1\n"
