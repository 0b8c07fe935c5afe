"""What is wrong with completions, by hand-made samples."""

import pytest

from lorapar_cli.evaluation.problems import count_problems, why_failed


def program(reason="", failure=None, **more):
    kind = {} if failure is None else {"failure": failure}
    return {"extracted": "x = 1", "correct": not (reason or kind), "reason": reason} | kind | more


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("no result within 10 s", "timeout"),
        ("SyntaxError: invalid syntax (program, line 3)", "syntax error"),
        ("IndentationError: unexpected indent", "syntax error"),
        ("AssertionError: ", "assertion"),
        ("MemoryError: ", "memory"),
        ("the program ended: killed", "exit"),
        ("TypeError: no AssertionError", "exception"),
        ("the checker ended without a result", "exception"),
    ],
)
def test_a_reason_tells_its_kind(reason, kind):
    assert why_failed(program(reason)) == kind


def test_a_kind_that_grading_gives_comes_first():
    assert why_failed(program("AssertionError: 3", "timeout")) == "timeout"
    assert why_failed(program()) is None


def test_programs_are_counted_by_why_they_fail():
    samples = [
        program(finished=True),
        program("AssertionError: ", finished=True),
        program("AssertionError: 2", finished=True),
        program("SyntaxError: x", finished=False),
        program("", "no program", finished=True),
    ]
    assert count_problems("code", samples) == {
        **{"no_answer": 1, "cut": 1, "syntax_error": 1, "timeout": 0, "memory": 0},
        **{"assertion": 2, "exception": 0, "exit": 0},
    }


def test_whether_given_completions_were_truncated_is_not_known():
    samples = [{"extracted": "", "correct": False}, {"extracted": "4", "correct": True}]
    assert count_problems("exact", samples) == {"no_answer": 1}
