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
    ],
)
def test_the_letter_that_is_chosen(text, letter):
    assert find_choice(text) == letter
