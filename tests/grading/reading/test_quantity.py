"""One quantity: where it ends, its value, its unit."""

from fractions import Fraction

import pytest

from lorapar_cli.grading.reading.quantity import read_quantity


@pytest.mark.parametrize(
    ("text", "value", "rest"),
    [
        ("18", 18, ""),
        ("1,250.50 of them", Fraction(2501, 2), " of them"),
        ("1.250,50", Fraction(2501, 2), ""),
        ("1 250 000", 1250000, ""),
        ("1'250", 1250, ""),
        ("0,125", Fraction(1, 8), ""),
        ("-$4.5M", -4500000, ""),
        ("5k", 5000, ""),
        ("2 dozen eggs", 24, " eggs"),
        ("3/4 cup", Fraction(3, 4), " cup"),
        ("1 3/4", Fraction(7, 4), ""),
        ("3 out of 8", Fraction(3, 8), ""),
        ("7th", 7, ""),
        ("25 cm^2.", 25, "."),
        ("25 m2", 25, ""),
        ("60 km/h", 60, ""),
        ("60 miles per hour", 60, ""),
        ("20 °C", 20, ""),
        ("12%", 12, ""),
        ("2 hours and 30 minutes", Fraction(5, 2), ""),
        ("5 feet 6 inches", Fraction(11, 2), ""),
        ("3 dollars and 5 cents", Fraction(61, 20), ""),
        ("5 apples", 5, " apples"),
        ("1e3", 1000, ""),
    ],
)
def test_what_is_read(text, value, rest):
    found = read_quantity(text)
    assert found is not None
    assert found.value == value
    assert text[found.end :] == rest


@pytest.mark.parametrize(
    "text",
    [
        *("5x", "2i", "5N", "14A", "5^2", "5²", "2√3", "4π", "10-15", "3:30", "1/0", "1/2/2024"),
        *("2024-05-01", "--5", "1,2,3", "1.2.3", "3-year-old", "1e999", "9" * 400, "", "x5"),
        *("5(x+1)", "12_a"),
    ],
)
def test_what_is_no_quantity(text):
    assert read_quantity(text) is None
