"""The sandbox: right programs pass, wrong ones fail, hostile ones fail and leave nothing behind."""

import json
from pathlib import Path

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.sandbox import process, runner
from lorapar_cli.grading.sandbox.process import BACKENDS, UNSAFE
from lorapar_cli.grading.sandbox.runner import (
    Limits,
    Program,
    Sandbox,
    find_backend,
    probe,
    run_program,
    run_programs,
)
from lorapar_cli.limits import LARGEST_CODE_MEMORY, LARGEST_CODE_TIMEOUT
from tests.grading.sandbox.hostile_programs import ENDLESS, HOSTILE, MARK, PLACES
from tests.shared_data import SHARED_DATA

TEST = "def check(candidate):\n    assert candidate() == 'done'\n"


@pytest.fixture(params=BACKENDS)
def backend(request):
    if (why := probe(request.param)) is not None:
        pytest.skip(f"{request.param} does not hold on this machine: {why}")
    return request.param


def run(text, backend, test=TEST, seconds=5.0):
    return run_program(Program(text, "f", "", test), Sandbox(backend, Limits(seconds=seconds)))


def test_the_largest_limits_are_limits_that_programs_pass_in(backend):
    limits = Limits(LARGEST_CODE_TIMEOUT, LARGEST_CODE_MEMORY)
    program = Program("def f():\n    return 'done'", "f", "", TEST)
    ran = run_program(program, Sandbox(backend, limits))
    assert ran.passed, ran.reason


def sandboxed_processes():
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"\0server\0" in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_a_right_program_passes_and_a_wrong_one_says_why(backend):
    right = run("def f():\n    return 'done'", backend)
    assert right.passed, right.reason
    wrong = run("def f():\n    return 'dome'", backend)
    assert not wrong.passed
    assert wrong.failure == "assertion"
    assert wrong.reason.startswith("AssertionError")
    raising = run("def f():\n    return 1 / 0", backend)
    assert raising.reason == "ZeroDivisionError: division by zero"
    raising = run("def f():\n    raise EOFError('no more')", backend)
    assert raising.reason == "EOFError: no more"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_program_fails_and_leaves_nothing(backend, name):
    before = set(sandboxed_processes())
    result = run(HOSTILE[name], backend, seconds=1.0 if name in ENDLESS else 10.0)
    assert not result.passed
    # Threads are bounded by memory alone, which a busy machine may not reach in time.
    if name != "thread bomb":
        assert (result.failure == "timeout") == (name in ENDLESS), result
    assert set(sandboxed_processes()) <= before
    left = [place for place in PLACES if list(Path(place).glob(f"{MARK}*"))]
    assert left == []


def test_the_suite_can_fail():
    """Unconfined, the harmless ones among the hostile programs do succeed."""
    for name in ("unix socket", "processes in threads", "/etc/passwd", "this file", "sleep"):
        text = HOSTILE[name].replace("sleep(60)", "sleep(0)")
        assert run(text, UNSAFE).passed, name


def test_tests_see_the_helpers_of_the_setup_and_the_entry_point(backend):
    program = Program(
        "def double(x):\n    return [2 * v for v in x]",
        "double",
        "def total(x):\n    return sum(x)\ndef double(x):\n    pass\n",
        "def check(candidate):\n"
        "    assert total(candidate([1, 2])) == 6\n"
        "    assert double(x=[3]) == [6]\n",
    )
    result = run_program(program, Sandbox(backend))
    assert result.passed, result.reason


def test_plain_assertions_without_a_check_function_count(backend):
    assert run("def f():\n    return 1", backend, test="assert f() == 1\n").passed
    assert not run("def f():\n    return 1", backend, test="assert f() == 2\n").passed


def test_programs_run_side_by_side_and_keep_their_order(backend):
    programs = [
        Program(f"def f():\n    return {n}", "f", "", f"assert f() == {n if n % 2 else -1}")
        for n in range(8)
    ]
    results = list(run_programs(programs, Sandbox(backend), workers=4))
    assert [result.passed for result in results] == [bool(n % 2) for n in range(8)]


def test_nothing_runs_where_nothing_confines(monkeypatch):
    monkeypatch.setattr(runner, "probe", lambda name: f"no {name}")
    with pytest.raises(LoraparError, match="cannot confine"):
        find_backend()
    assert find_backend(unsafe=True) == UNSAFE


def test_a_backend_that_lets_something_through_is_not_offered(monkeypatch):
    monkeypatch.setattr(process, "_wrapper", lambda backend, told, packages: [])
    monkeypatch.setattr(process, "_runtime_paths", lambda: ["/"])
    probe.cache_clear()
    try:
        assert "files" in probe("landlock")
    finally:
        probe.cache_clear()


def test_a_machine_without_a_table_of_system_calls_has_no_sandbox(monkeypatch):
    for module in (runner, process):
        monkeypatch.setattr(module, "describe_system_calls", lambda machine: None)
    probe.cache_clear()
    try:
        assert probe("landlock").startswith("no table of system calls for")
        result = run("def f():\n    return 'done'", "landlock")
        assert not result.passed
    finally:
        probe.cache_clear()


# In the form of HumanEval's: a prompt, its solution, and tests of the values.
PROBLEMS = [
    {
        "task_id": "longest",
        "prompt": "from typing import List, Optional\n\n\n"
        "def longest(words: List[str]) -> Optional[str]:\n"
        '    """Returns the first of the longest words, None without words."""\n',
        "entry_point": "longest",
        "canonical_solution": "    return max(words, key=len) if words else None\n",
        "test": "def check(candidate):\n"
        "    assert candidate([]) is None\n"
        "    assert candidate(['a', 'bbb', 'ccc']) == 'bbb'\n",
    },
    {
        "task_id": "mean deviation",
        "prompt": "import math\n\ndef mean(xs):\n    return math.fsum(xs) / len(xs)\n\n"
        "def mean_deviation(xs):\n    '''Mean distance from the mean.'''\n",
        "entry_point": "mean_deviation",
        "canonical_solution": "    return mean([abs(x - mean(xs)) for x in xs])\n",
        "test": "METADATA = {}\n\ndef check(candidate):\n"
        "    assert abs(candidate([1.0, 2.0, 3.0]) - 2.0 / 3.0) < 1e-6\n"
        "    assert abs(candidate([mean([4.0]), 6.0]) - 1.0) < 1e-6\n",
    },
    {
        "task_id": "count by parity",
        "prompt": "def count_by_parity(numbers):\n    '''Even and odd ones.'''\n",
        "entry_point": "count_by_parity",
        "canonical_solution": "    odd = sum(n % 2 for n in numbers)\n"
        "    return {'even': len(numbers) - odd, 'odd': odd}, tuple(numbers)\n",
        "test": "def check(candidate):\n"
        "    assert candidate([1, 2, 3]) == ({'even': 1, 'odd': 2}, (1, 2, 3))\n"
        "    assert count_by_parity(numbers=[]) == ({'even': 0, 'odd': 0}, ())\n",
    },
]
EMPTY = "    return None\n"


def failing(rows, backend, completion=None):
    """Returns the ids of the problems whose own solution, or a given completion, fails."""
    programs = [
        Program(
            row["prompt"] + (completion or row["canonical_solution"]),
            row["entry_point"],
            row["prompt"] + "    pass\n",
            row["test"],
        )
        for row in rows
    ]
    results = run_programs(programs, Sandbox(backend, Limits(seconds=30)))
    return [row["task_id"] for row, own in zip(rows, results, strict=True) if not own.passed]


def test_solutions_pass_and_empty_functions_fail(backend):
    assert failing(PROBLEMS, backend) == []
    assert failing(PROBLEMS, backend, EMPTY) == [row["task_id"] for row in PROBLEMS]


@pytest.mark.shared_data("humaneval")
@pytest.mark.parametrize(("completion", "count"), [(None, 0), (EMPTY, 164)])
def test_published_solutions_pass_and_empty_functions_fail(backend, completion, count):
    text = (SHARED_DATA / "humaneval" / "HumanEval.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) == 164
    assert len(failed := failing(rows, backend, completion)) == count, failed
