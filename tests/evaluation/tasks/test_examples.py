"""When two texts ask the same question."""

import pytest

from lorapar_cli.evaluation.tasks.examples import others, question_form


@pytest.mark.parametrize(
    "spelled",
    ["What is 2 + 2?", " what  is\n2+2 ", "What is 2+2", "WHAT IS 2+2?", "What\u00a0is 2\u200b+2?"],
)
def test_one_question_in_other_spellings(spelled):
    assert question_form(spelled) == question_form("What is 2+2?")


def test_typesetting_makes_no_difference():
    assert question_form("Tom’s “age” – 3?") == question_form('Tom\'s "age" - 3?')


@pytest.mark.parametrize("other", ["What is 2-2?", "What is 2+3?", "What is -2+2?", ""])
def test_other_questions(other):
    assert question_form(other) != question_form("What is 2+2?")


def test_choices_belong_to_the_question_in_any_order():
    asked = question_form("Which is true?", ["red", "blue"])
    assert question_form("which is true", ["Blue", "red "]) == asked
    assert question_form("Which is true?", ["red", "green"]) != asked


def test_the_question_itself_is_no_other():
    forms = [question_form(text) for text in ("a?", "b?", "A ?")]
    assert others(forms, question_form("a")) == [1]
