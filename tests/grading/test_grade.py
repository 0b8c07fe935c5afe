"""The grade that each rule gives."""

import pytest

from lorapar_cli.grading.grade import grade
from lorapar_cli.grading.programs import Code
from lorapar_cli.grading.sandbox.runner import Sandbox, find_backend

CODE = Code(
    prompt="def double(x):\n    '''Twice x.'''\n",
    entry_point="double",
    test="def check(candidate):\n    assert candidate(4) == 8\n",
)


def test_answers_are_graded_by_both_rules():
    assert grade("answer", ["#### 1,080", "it is 1,080", "no idea"], ["1080"] * 3) == [
        {
            "extracted": "1,080",
            "correct": True,
            "extracted_strict": "1,080",
            "correct_strict": True,
        },
        {
            "extracted": "1,080",
            "correct": True,
            "extracted_strict": None,
            "correct_strict": False,
        },
        {
            "extracted": None,
            "correct": False,
            "extracted_strict": None,
            "correct_strict": False,
        },
    ]


def test_any_of_several_accepted_answers_is_right_but_the_strict_rule_knows_the_first_only():
    texts = ["#### 7", "seven", "#### 8", "#### 7."]
    grades = grade("answer", texts, ["seven", "seven", "seven", "8"], others=[["7"]] * 4)
    assert [each["correct"] for each in grades] == [True, True, False, True]
    assert [each["correct_strict"] for each in grades] == [False] * 4
    (strict,) = grade("answer", ["#### 7"], ["7"], others=[["seven"]])
    assert strict["correct_strict"]


@pytest.mark.parametrize(
    ("match", "accepted", "texts"),
    [("exact", ["no", "nope"], ["no", "nope", "No"]), ("choice", ["B", "D"], ["(B)", "D.", "(C)"])],
)
def test_other_rules_accept_several_answers_too(match, accepted, texts):
    grades = grade(match, texts, [accepted[0]] * 3, others=[accepted[1:]] * 3)
    assert [each["correct"] for each in grades] == [True, True, False]


def test_exact_ignores_whitespace_around_the_text_only():
    assert grade("exact", [" a b\n", "a  b"], ["a b"] * 2) == [
        {"extracted": "a b", "correct": True},
        {"extracted": "a  b", "correct": False},
    ]


def test_choice_compares_letters_whatever_their_case():
    assert grade("choice", ["The answer is (b)", "(A)", "none"], [" b "] * 3) == [
        {"extracted": "B", "correct": True},
        {"extracted": "A", "correct": False},
        {"extracted": None, "correct": False},
    ]


def test_latex_needs_no_library_for_answers_that_are_equal_as_written():
    assert grade("latex", [r"so \boxed{1{,}080}"], ["1080"]) == [
        {"extracted": "1{,}080", "correct": True}
    ]


def test_a_program_is_graded_by_its_tests_and_comes_with_the_reason():
    completions = ["    return 2 * x\n", "    return x\n"]
    right, wrong = grade("code", completions, ["", ""], [CODE] * 2, Sandbox(find_backend()))
    assert right == {
        "extracted": CODE.prompt + "    return 2 * x\n",
        "correct": True,
        "correct_plain": True,
        "reason": "",
        "failure": None,
    }
    assert not wrong["correct"]
    assert wrong["failure"] == "assertion"
    assert wrong["reason"].startswith("AssertionError")


def test_programs_are_never_run_without_a_sandbox():
    with pytest.raises(AssertionError, match="in a sandbox only"):
        grade("code", ["    return 2 * x\n"], [""], [CODE])


def test_every_completion_needs_a_reference():
    with pytest.raises(ValueError, match="zip"):
        grade("exact", ["a", "b"], ["a"])
