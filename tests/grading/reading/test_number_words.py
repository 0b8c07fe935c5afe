"""Numbers in words."""

import pytest

from lorapar_cli.grading.reading.number_words import write_digits


@pytest.mark.parametrize(
    ("words", "digits"),
    [
        ("seven", "7"),
        ("Twenty-one", "21"),
        ("one hundred and five", "105"),
        ("two thousand three hundred", "2300"),
        ("three million two hundred thousand and six", "3200006"),
        ("five and six", "five and six"),
        ("minus seven", "-7"),
        ("negative $5", "-$5"),
        ("two and a half cups", "2 1/2 cups"),
        ("three quarters", "3/4"),
        ("half", "1/2"),
        ("a dozen", "1 dozen"),
        ("someone", "someone"),
        ("seventh", "seventh"),
        ("thousand", "thousand"),
    ],
)
def test_words_become_digits(words, digits):
    assert write_digits(words) == digits
