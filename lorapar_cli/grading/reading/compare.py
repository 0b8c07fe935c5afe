"""Tells whether two final answers are equal: numbers by value, times, sets and lists, else words."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from lorapar_cli.grading.reading.opening import (
    MARKS,
    Opened,
    is_several,
    open_answer,
    quantity_of,
    readable,
    unwrap,
    without_lead,
)
from lorapar_cli.grading.reading.plain import FACTORIAL
from lorapar_cli.grading.reading.structures import (
    Date,
    Structure,
    Time,
    read_date,
    read_hour,
    read_structure,
    read_time,
    same_time,
)

_ARTICLE = re.compile(r"(?:the|an?) (?=\S)")
_WORDS = re.compile(r"[^\W\d_]{2,}")
_POWER = re.compile(r"(-?\d{1,4})\s?(?:\^\s?(?:\{(\d{1,2})\}|(\d{1,2}))|([²³]))")
_RANGE = re.compile(r"(?:from )?([$€£]?\d[^-]*?)(?:\s?-\s?|\sto\s)([$€£]?\d[^-]*)", re.I)
_FROM_TO = "to"
_LONGEST_RANGE = 60
_CENTS = Fraction(1, 100)
_LONGEST = 5000


class Reading(NamedTuple):
    """What a final answer says.

    Attributes:
        opened: Its quantity.
        value: The value of that.
        time: The time of day that it is.
        date: The day that it is.
        structure: Its elements.
        words: Its words in the form that equal ones share.
    """

    opened: Opened | None
    value: Fraction | None
    time: Time | None
    date: Date | None
    structure: Structure | None
    words: str


def read(text: str) -> Reading:
    """Returns what a final answer says."""
    whole = readable(unwrap(text), math=True)
    core = without_lead(whole)
    opened = quantity_of(core)
    bare = core.strip(MARKS + " .!")
    value = opened.quantity.value if opened else _power(bare)
    if value is None and (hour := read_hour(bare)) is not None:
        value = Fraction(hour)
    structure = read_structure(bare) if is_several(bare) else _range(bare)
    words = _shared_form(bare or whole)
    return Reading(opened, value, read_time(bare), read_date(bare), structure, words)


def _range(text: str) -> Structure | None:
    """Returns the ends of a range, `5-7` or `5 to 7 days`, None if a text is none."""
    found = _RANGE.fullmatch(text) if len(text) <= _LONGEST_RANGE else None
    if found is None:
        return None
    low, high = quantity_of(found[1]), quantity_of(found[2])
    if low is None or high is None or low.quantity.value >= high.quantity.value:
        return None
    return Structure(_FROM_TO, [found[1], found[2]])


def _power(text: str) -> Fraction | None:
    found = _POWER.fullmatch(text)
    if found is None:
        return None
    exponent = int(found[2] or found[3] or {"²": 2, "³": 3}[found[4]])
    return Fraction(int(found[1])) ** exponent if not found[1].startswith("-") else None


def _shared_form(text: str) -> str:
    text = re.sub(r"\s+", " ", text[:_LONGEST]).casefold().replace(FACTORIAL, "!")
    text = text.replace(" percent", "%").replace("\\", "").replace("infinity", "∞")
    if not _WORDS.search(re.sub(r"sqrt|frac|sin|cos|tan|log|ln|pi", "", text)):
        # Spaces mean nothing in formulas.
        text = re.sub(r"(?<!\d) | (?!\d)|[*×]", "", text)
        # Nor do brackets around one sign: `x^{2}`, `√{2}`, `(π)/(2)`.
        text = re.sub(r"(?<=[\^_√])\{(\w)\}", r"\1", text)
        text = re.sub(r"\((\w)\)/\((\w)\)", r"\1/\2", text)
    return _ARTICLE.sub("", text, count=1).rstrip(".")


def same_answer(found: str, reference: str) -> bool:
    """Returns whether two final answers are equal."""
    one, other = read(found), read(reference)
    if one.words == other.words:
        return True
    if one.time and other.time:
        return same_time(one.time, other.time)
    if one.date and other.date and bool(one.date.year) == bool(other.date.year):
        return one.date == other.date
    if _same_value(one, other):
        return True
    return _same_elements(one.structure, other.structure)


def _same_value(one: Reading, other: Reading) -> bool:
    if one.value is None or other.value is None:
        return False
    first, second = one.opened, other.opened
    if first is None or second is None:
        return one.value == other.value
    if _are_different_names(first, second):
        return False
    a, b = first.quantity.unit, second.quantity.unit
    if a and b and a.dimension and b.dimension:
        if a.dimension == b.dimension:
            return one.value * a.factor == other.value * b.factor
        if a.dimension.partition("^")[0] != b.dimension.partition("^")[0]:
            return False
    return bool(_values(first) & _values(second))


def _values(opened: Opened) -> set[Fraction]:
    """Returns the numbers that a quantity may be said to be, where the other has no unit."""
    quantity = opened.quantity
    values = {quantity.value} | ({quantity.fine} if quantity.fine is not None else set())
    if quantity.unit and (quantity.unit.dimension, quantity.unit.factor) == ("dollar", _CENTS):
        values.add(quantity.value * _CENTS)
    return values


def _are_different_names(one: Opened, other: Opened) -> bool:
    """Returns whether two texts are names with a number in them: `12 Monkeys`, `12 Angry Men`."""
    tails = one.tail, other.tail
    return (
        all(tails)
        and tails[0].casefold() != tails[1].casefold()
        and all(tail[:1].isupper() for tail in tails)
    )


def _same_elements(one: Structure | None, other: Structure | None) -> bool:
    if one is None or other is None or len(one.elements) != len(other.elements):
        return False
    if one.brackets == other.brackets == _FROM_TO:
        return all(map(same_answer, one.elements, other.elements))
    key: Callable[[str], str] = shared_form
    ours, theirs = [[key(element) for element in each.elements] for each in (one, other)]
    if "{}" in (one.brackets, other.brackets) and {one.brackets, other.brackets} <= {"{}", ""}:
        return sorted(ours) == sorted(theirs)
    return one.brackets == other.brackets and ours == theirs


def shared_form(text: str) -> str:
    """Returns the form that equal answers share: a number's exact value, or words."""
    reading = read(text)
    return reading.words if reading.value is None else str(reading.value)


def quantity_in(text: str) -> Opened | None:
    """Returns the one quantity that a final answer is, else None."""
    return quantity_of(without_lead(readable(unwrap(open_answer(text)))))
