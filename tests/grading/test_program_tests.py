"""Tests that every program would pass are refused before any program is run."""

import json

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.program_tests import check_tests
from lorapar_cli.grading.programs import Code
from tests.shared_data import SHARED_DATA


def check(test, entry_point="f"):
    check_tests(Code("def f(x):\n", entry_point, test), "record `a`")


@pytest.mark.parametrize(
    "test",
    [
        "def check(candidate):\n    assert candidate(1) == 2\n",
        "def check(f):\n    assert f(1) == 2\n",
        "def check(candidate):\n    assert f(1) == 2\n",
        "METADATA = {}\n\ndef check(candidate, /):\n    for x in range(3):\n        assert candidate(x) == x + 1\n",
        "def near(g):\n    return g(1)\n\ndef check(candidate):\n    assert near(candidate) == 2\n",
        "def near():\n    return f(1)\n\ndef check(candidate):\n    assert near() == 2\n",
        "assert f(1) == 2\n",
        "for x in [1, 2]:\n    assert f(x) == x + 1\n",
        "assert list(map(f, [1])) == [2]\n",
        "def go():\n    assert f(1) == 2\n\ngo()\n",
        "from tests_of_f import check\n",
        "def run(candidate):\n    assert candidate(1) == 2\n\ncheck = run\n",
        "def check(candidate):\n    assert candidate('\ud800') == 2\n",
    ],
)
def test_tests_that_call_the_function_are_accepted(test):
    check(test)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("", "test nothing"),
        ("# def check(candidate): assert candidate(1) == 2\n", "test nothing"),
        ("METADATA = {}\n", "test nothing"),
        ("assert True\n", "test nothing"),
        ("assert g(1) == 2\n", "test nothing"),
        ("def check(candidate):\n    pass\n", "test nothing"),
        ("def check(candidate):\n    assert 1 == 1\n", "test nothing"),
        ("def test_f():\n    assert f(1) == 2\n", "test nothing"),
        ("class T:\n    def test_f(self):\n        assert f(1) == 2\n", "test nothing"),
        ("def Check(candidate):\n    assert candidate(1) == 2\n", "test nothing"),
        ("'assert f(1) == 2'\n", "test nothing"),
        ("def check(candidate)\n    assert candidate(1) == 2\n", "not valid Python"),
    ],
)
def test_tests_that_test_nothing_are_refused(test, words):
    with pytest.raises(LoraparError, match=f"record `a`.*{words}|{words}"):
        check(test)


@pytest.mark.parametrize("name", ["", "f(x)", "a.b", "1f"])
def test_an_entry_point_is_a_name(name):
    with pytest.raises(LoraparError, match="no function to test"):
        check("def check(candidate):\n    assert candidate(1) == 2\n", name)


@pytest.mark.shared_data("humaneval")
def test_all_published_tests_are_accepted():
    text = (SHARED_DATA / "humaneval" / "HumanEval.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) == 164
    for row in rows:
        check_tests(Code(row["prompt"], row["entry_point"], row["test"]), row["task_id"])
