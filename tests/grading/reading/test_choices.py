"""Letters that are a choice, and letters that are words."""

import pytest

from lorapar_cli.grading.reading.choices import find_choice


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("**Answer:** (E)", "E"),
        ("I'd go with F.", "F"),
        ("f) both", "F"),
        ("The answer is a tie.", None),
        ("The answer is a", "A"),
        ("I believe it is I.", "I"),
        ("I believe so.", None),
        ("not D", None),
        ("D isn't right. C is right.", "C"),
        ("E and F", None),
        ("Is it A? No, it's B.", "B"),
        ("Hepatitis B", None),
        ("", None),
        ("D Mitochondria", "D"),
        ("E. No wait, actually F.", "F"),
        ("All of the above, so D.", "D"),
        ("Both of these: D and E.", None),
        ("The answer is E or F, but more likely F.", "F"),
        ("The answer is E or F. I can't tell.", None),
        ("Among these, F best describes it.", "F"),
        ("E is not correct; F is.", "F"),
        ("F it is.", "F"),
        ("Ans: F", "F"),
        ("Solution F freezes first.", None),
        ("Solution: F", "F"),
        ("The correct option is option number F.", "F"),
        ("Hence, the correct option is f.", "F"),
        ("option f", "F"),
        ("The answer is (E), (F) is its converse.", "E"),
        ("{'answer': 'F'}", "F"),
        ("> F", "F"),
        ("1. F", "F"),
        ("Q: Which one?\nA: F", "F"),
        ("故选：F", "F"),
        ("不选F", None),
        ("答えはＦです", "F"),
        ("정답은 F입니다", "F"),
    ],
)
def test_the_letter_that_is_chosen(text, letter):
    assert find_choice(text) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A. 3\nB. 4\nC. 5\nD. 6", None),
        ("(A) 3\n(B) 4\n(C) 5\n(D) 6", None),
        ("A\nB\nC", None),
        ("A. 3\nB. 4\nC. 5\nD. 6\n\nB", "B"),
        ("A. Rome\nB. Paris\nC. Bonn\n\nParis is in France, so B) Paris.", "B"),
        ("A. Rome.\n\nB. is wrong, as it is in France.\nC. is wrong, too.", "A"),
    ],
)
def test_a_list_of_all_options_chooses_none_of_them(text, letter):
    assert find_choice(text) == letter
