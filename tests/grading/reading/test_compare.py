"""When two final answers are equal."""

import pytest

from lorapar_cli.grading.reading.compare import same_answer


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1 km", "1000 m", True),
        ("1 m^2", "10000 cm^2", True),
        ("90 minutes", "1.5 hours", True),
        ("1 hour 30 minutes", "90", True),
        ("1 hour 30 minutes", "1.5", True),
        ("1 hour 30 minutes", "30", False),
        ("50 cents", "$0.50", True),
        ("50 cents", "$50", False),
        ("5 cm", "5 kg", False),
        ("5 cm", "5 apples", True),
        ("3:30", "3:30 pm", True),
        ("3:30 am", "3:30 pm", False),
        ("15:30", "3:30 p.m.", True),
        ("12:00 am", "0:00", True),
        ("12:30", "1230", False),
        ("July 4, 1776", "4 July 1776", True),
        ("Jul. 4 1776", "the 4th of July, 1776", True),
        ("July 4", "4th of July", True),
        ("July 4, 1776", "5 July 1776", False),
        ("July 4, 1776", "4 June 1776", False),
        ("July 4, 1776", "4 July 1777", False),
        ("4 July 1776", "7 April 1776", False),
        ("{1, 2}", "{2,1}", True),
        ("(1, 2)", "(2, 1)", False),
        ("[0, 1/2)", "[0, 0.5)", True),
        ("[0, 1)", "(0, 1]", False),
        ("1, 2 and 3", "1,2,3", True),
        ("1, 2", "{2, 1}", True),
        ("3,5", "3.5", True),
        ("3,5", "3, 5", True),
        ("2x + 3", "2x+3", True),
        ("12 Monkeys", "12 Angry Men", False),
        ("12 Monkeys", "12", True),
        ("the Nile", "Nile", True),
        ("2^10", "1024", True),
        ("5!", "5", False),
        ("28 percent", "28%", True),
    ],
)
def test_equality_holds_in_both_directions(one, other, same):
    assert same_answer(one, other) is same
    assert same_answer(other, one) is same
