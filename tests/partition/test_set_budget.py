"""Sizes of top sets as they are typed, and their division among matrices."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.partition.set_budget import read_budget, spread


@pytest.mark.parametrize(
    ("text", "elements", "count"),
    [
        ("17", 1000, 17),
        (" 17 ", 1000, 17),
        ("0.01%", 61_440, 6),  # 6.144
        ("0.01 %", 20_000, 2),
        ("2%", 61_440, 1228),  # 1228.8
        ("29%", 100, 29),  # 0.29 * 100 in binary is below 29
        ("100%", 77, 77),
    ],
)
def test_numbers_and_percentages(text, elements, count):
    assert read_budget(text, "--budget-s1").count("--budget-s1", elements, elements) == count


@pytest.mark.parametrize(
    "text",
    ["", "0", "-3", "0%", "0.0%", "100.5%", "200%", "1e3", "1_000", "2.5", "%", "5 elements", "٥"],
)
def test_other_texts_are_refused_with_the_option(text):
    with pytest.raises(UsageError, match="`--budget-s2` takes a number") as raised:
        read_budget(text, "--budget-s2")
    assert raised.value.found == repr(text)


def test_less_than_one_element_and_more_than_there_are():
    with pytest.raises(LoraparError, match="less than one element"):
        read_budget("0.01%", "--budget-s1").count("--budget-s1", 9_999, 9_999)
    with pytest.raises(LoraparError, match="exceeds") as raised:
        read_budget("60%", "--budget-s1").count("--budget-s1", 100, 50)
    assert raised.value.found == "60 of 50"


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=30), st.floats(0, 1))
def test_parts_add_up_and_are_within_one_of_the_exact_share(sizes, share):
    count = int(share * sum(sizes))
    parts = spread(count, sizes)
    assert sum(parts) == count
    for part, size in zip(parts, sizes, strict=True):
        assert abs(part - Fraction(count * size, sum(sizes))) < 1
        assert part <= size


def test_what_is_left_goes_to_the_largest_remainders_and_then_in_order():
    assert spread(5, [2, 2, 2, 2]) == [2, 1, 1, 1]
    assert spread(7, [10, 25, 5]) == [2, 4, 1]  # 1.75, 4.375, 0.875


@pytest.mark.parametrize("text", ["9" * 1_000_000, "1." * 500_000, " " * 1_000_000 + "%"])
def test_long_texts_are_refused_in_linear_time(text):
    with pytest.raises(UsageError):
        read_budget(text, "--budget-s1")
