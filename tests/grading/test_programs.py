"""Which program a completion stands for, and what is found of it."""

import json
import signal
from collections import Counter

import pytest

from lorapar_cli.grading.programs import (
    Code,
    read_prompt,
    run_completions,
    to_plain_program,
    to_program,
)
from lorapar_cli.grading.sandbox.packages import find_packages
from lorapar_cli.grading.sandbox.runner import Sandbox, find_backend
from tests.shared_data import SHARED_DATA

CODE = Code(
    prompt="import math\n\ndef half(x):\n    return x / 2\n\ndef root(x):\n    '''The root.'''\n",
    entry_point="root",
    test="def check(candidate):\n    assert candidate(9) == 3\n    assert half(candidate(16)) == 2\n",
)
SETUP = f"{CODE.prompt}    pass\n"
BODY = "    return math.isqrt(x)\n"
WHOLE = "def root(x):\n    return math.isqrt(x)\n"


def graded(completions, code=CODE):
    return run_completions([code] * len(completions), completions, Sandbox(find_backend()))


def read_cases(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.shared_data("humaneval")
def test_the_verdicts_on_shared_cases_are_a_careful_readers():
    pytest.importorskip("numpy")
    path = SHARED_DATA.parent / "cases" / "programs.jsonl"
    if not path.is_file():
        pytest.skip(f"no such file: {path}")
    rows = read_cases(path)
    known = {
        row["task_id"]: row for row in read_cases(SHARED_DATA / "humaneval" / "HumanEval.jsonl")
    }
    tasks = [
        Code(*(known[row["task_id"]][key] for key in ("prompt", "entry_point", "test")))
        for row in rows
    ]
    sandbox = Sandbox(find_backend(), packages=find_packages(["numpy"]))
    found = run_completions(tasks, [row["completion"] for row in rows], sandbox)
    right = sum(each.result.passed == row["right"] for row, each in zip(rows, found, strict=True))
    assert right >= 0.95 * len(rows)


def test_the_plain_rule_takes_the_completion_as_it_stands():
    found = graded([BODY, f"```python\n{WHOLE}```", BODY.lstrip(), "    return x\n", WHOLE])
    assert [each.result.passed for each in found] == [True, True, True, False, True]
    assert [each.plain.passed for each in found] == [True, False, False, False, True]
    assert found[1].plain.failure == "syntax error"
    assert to_plain_program(CODE, BODY).text == CODE.prompt + BODY


def test_failures_are_of_a_few_kinds():
    completions = [
        *("", "I cannot.", "```python\n```", "<think>\n```python\n" + WHOLE + "```"),
        *("```python\ndef root(x)\n    return 3\n```", "    return (x\n"),
        *("    return x\n", "    return nothing\n", "    raise SystemExit\n"),
        "    return 'x' * 10**11\n",
    ]
    found = graded(completions)
    assert [each.result.failure for each in found] == [
        *["no program"] * 4,
        *["syntax error"] * 2,
        *("assertion", "exception", "exit", "memory"),
    ]
    assert all(each.result.reason for each in found)
    assert [each.text is None for each in found] == [True] * 4 + [False] * 6


def test_a_body_continues_the_prompt():
    program = to_program(CODE, BODY).program
    assert (program.text, program.setup) == (CODE.prompt + BODY, SETUP)


def test_a_definition_follows_the_prompts_imports_and_functions():
    assert to_program(CODE, f"Sure:\n\n{WHOLE}").program.text.startswith(f"{SETUP}\ndef root(x):")


def test_equal_programs_run_once(monkeypatch):
    from lorapar_cli.grading import programs

    counted = Counter()

    def run(waiting, sandbox):
        counted.update(program.text for program in waiting)
        return iter([programs.TestResult(True, None, "")] * len(waiting))

    monkeypatch.setattr(programs, "run_programs", run)
    run_completions([CODE] * 3, [BODY] * 3, Sandbox("none"))
    assert counted == {CODE.prompt + BODY: 1}


@pytest.mark.parametrize(
    "prompt",
    [
        "Write a function root(x) that returns the whole part of the square root of x.",
        "Complete this:\n```python\nimport math\n\ndef root(x):\n    '''The root.'''\n```\n",
        "Complete the function below.\n\nimport math\n\ndef root(x):\n",
        "def root(x):",
        "import math\ndef root(x):\n    # The whole part.\n",
    ],
)
def test_prompts_need_not_be_the_beginning_of_a_program(prompt):
    code = Code(prompt, "root", "def check(candidate):\n    assert candidate(17) == 4\n")
    found = graded(["```python\nimport math\n\n" + WHOLE + "```", "    return 17\n"], code)
    assert [each.result.passed for each in found] == [True, False]


def test_a_method_is_continued_at_its_own_indentation():
    prompt = "class Box:\n    def size(self, x):\n        '''x and one more.'''\n"
    head, setup = read_prompt(Code(prompt, "size", ""))
    assert (head, setup) == (prompt, prompt + "        pass\n")


def test_a_lone_surrogate_in_a_text_of_the_program_is_that_text():
    code = Code(
        "def f(x):\n", "f", "def check(candidate):\n    assert candidate('\ud800') == '\ud800!'\n"
    )
    assert graded(["    return x + '!'  # \udc00\n", "    return '\ud800!'\n"], code)[
        0
    ].result.passed
    assert graded(["def f(x):\n    return '\ud800!'\n"], code)[0].result.passed


@pytest.mark.parametrize(
    "form",
    [
        "<|channel|>analysis<|message|>Easy.<|end|><|start|>assistant<|channel|>final<|message|>```python\n{}```",
        "[THINK]```python\ndef root(x):\n    return 0\n```[/THINK]```python\n{}```",
        "<think>```python\ndef root(x):\n    return 0\n```</think>{}",
        "[BEGIN]\n{}[DONE]",
    ],
)
def test_the_program_is_what_comes_after_thoughts_and_within_marks(form):
    wrong = WHOLE.replace("isqrt(x)", "isqrt(x) + 1")
    found = graded([form.format(WHOLE), form.format(wrong)])
    assert [each.result.passed for each in found] == [True, False]


def test_a_statement_in_inline_code_is_the_body():
    found = graded(["Use `return math.isqrt(x)` here.", "Use `return x` here."])
    assert [each.result.passed for each in found] == [True, False]


@pytest.mark.parametrize("text", ["\0", "    return 3\0\n", "\ud800", "```\n\0\n```"])
def test_texts_that_are_no_source_fail_and_stop_nothing(text):
    first, second = graded([text, BODY])
    assert not first.result.passed
    assert second.result.passed


@pytest.fixture
def stopped():
    """Ends a test that hangs."""

    def stop(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("size", [60_000, 2**20])
@pytest.mark.parametrize(
    "unit",
    [
        *("```\n", "<think>", "<answer>", "[PYTHON]", "`", "def root(x):\n", "x = (\n", "'''\n"),
        *(" ", "\n", "{", "-", "for x in ", "> ", ", [", "The value. ", ">>> x\n", "</s> "),
    ],
)
def test_texts_that_repeat_one_thing_are_read_in_bounded_time(unit, size):
    to_program(CODE, f"def root(x):\n{unit * (size // len(unit))}")
    to_program(CODE, unit * (size // len(unit)))
