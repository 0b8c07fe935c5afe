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


def test_damaged_and_missing_files_are_refused(tmp_path):
    with pytest.raises(LoraparError, match="no MMLU files"):
        list(mmlu.read_published(tmp_path, "test"))
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "anatomy_test.csv").write_text("q,w,x,y,z,A\nq,w,x,A\n")
    with pytest.raises(LoraparError, match=r"anatomy_test\.csv:2` has 4 cells, not 6"):
        list(mmlu.read_published(tmp_path, "test"))
