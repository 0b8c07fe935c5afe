"""MMLU as published: subjects, letters, files, and what is refused."""

import json

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.tasks import mmlu_format as mmlu
from tests.shared_data import SHARED_DATA


def test_there_are_57_subjects_in_four_groups():
    assert len(mmlu.GROUP_OF) == 57
    assert set(mmlu.GROUP_OF.values()) == {"stem", "humanities", "social_sciences", "other"}


@pytest.mark.shared_data("mmlu")
def test_the_subjects_are_those_that_are_published():
    lines = (SHARED_DATA / "mmlu" / "dev.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["subject"] for line in lines} == set(mmlu.GROUP_OF)


@pytest.mark.parametrize("answer", [1, "1", "B", " b "])
def test_an_answer_is_a_letter_or_a_number_from_0(answer):
    assert mmlu.answer_letter({"question": "q", "answer": answer}) == "B"


@pytest.mark.parametrize("answer", [4, -1, "E", "", "AB"])
def test_other_answers_are_refused(answer):
    with pytest.raises(LoraparError, match="not one of A, B, C, D") as caught:
        mmlu.answer_letter({"question": "Which?", "answer": answer})
    assert caught.value.found == "Which?"


def test_a_question_has_four_choices():
    with pytest.raises(LoraparError, match="has 3 choices, not 4"):
        mmlu.describe_question({"question": "Which?", "choices": ["x", "y", "z"]})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"question": 5}, "its question is a number, not text"),
        ({"choices": "['w' 'x' 'y' 'z']"}, "its choices are text, not a list of 4"),
        ({"choices": ["w", "x"]}, "it has 2 choices, not 4"),
        ({"answer": "E"}, "its answer is 'E', not one of A, B, C, D or 0 to 3"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_its_place(change, problem):
    row = {"question": "Which?", "choices": ["w", "x", "y", "z"], "answer": 2}
    assert mmlu.checked_row(row, "f.jsonl:3") == row
    with pytest.raises(LoraparError, match=r"`f\.jsonl:3` is not an MMLU question") as caught:
        mmlu.checked_row(row | change, "f.jsonl:3")
    assert caught.value.found == problem


def test_choices_may_stand_in_columns_of_their_own():
    row = {"question": "Which?", "A": "w", "B": "x", "C": "y", "D": "z", "answer": "C"}
    assert mmlu.checked_row(row, "f:1")["choices"] == ["w", "x", "y", "z"]
