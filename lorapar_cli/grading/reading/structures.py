"""Reads answers that are more than one number: times, dates, sets, tuples, intervals, lists."""

import re
from typing import NamedTuple

_TIME = re.compile(
    r"(\d{1,2})[:.h](\d{2})(?::(\d{2}))?[ ]?(?:(a|p)\.?[ ]?m\b\.?|o'clock|h|uhr)?", re.IGNORECASE
)
_HOUR = re.compile(r"(\d{1,2})[ ]?(a|p)\.?[ ]?m\b\.?", re.IGNORECASE)
_O_CLOCK = re.compile(r"(\d{1,2})[ ]?o'clock(?:[ ](a|p)\.?[ ]?m\b\.?)?", re.IGNORECASE)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:,?[ ](?P<year>\d{3,4}))?"
_DATES = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (f"{_MONTH}[ ]{_DAY}{_YEAR}", f"(?:the[ ])?{_DAY}[ ](?:of[ ])?{_MONTH}{_YEAR}")
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_BRACKET = re.compile(r"[(\[{].*[)\]}]", re.DOTALL)
_SEPARATOR = re.compile(r"[(\[{]|[)\]}]|[,;](?:\s*(?:and|or)\b)?|(?<!\s)\s+(?:and|or)\s+")
_LONGEST_ELEMENT = 60
_LONGEST = 2000
_HOUR_LENGTH = 3600


class Time(NamedTuple):
    """A time of day.

    Attributes:
        seconds: As the clock shows it, since midnight or noon.
        half: `a`, `p`, or empty if it is not said.
    """

    seconds: int
    half: str


class Date(NamedTuple):
    """A day of the calendar.

    Attributes:
        year: None if it is not said.
    """

    year: int | None
    month: int
    day: int


class Structure(NamedTuple):
    """Several elements in one answer.

    Attributes:
        brackets: `()`, `[)`, `{}` and so on; empty for a list without.
        elements: As they are written.
    """

    brackets: str
    elements: list[str]


def read_time(text: str) -> Time | None:
    """Returns the time that a text is, else None: `3:30 pm`, `3 pm`, `3 o'clock`."""
    if found := _TIME.fullmatch(text):
        hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
        if text[found.start(2) - 1] != ":" and not re.search(r"[ap]\.?\s?m|uhr|h", text, re.I):
            return None
        half = (found[4] or "").lower()
    elif found := _HOUR.fullmatch(text) or _O_CLOCK.fullmatch(text):
        hour, minute, second, half = int(found[1]), 0, 0, (found[2] or "").lower()
    else:
        return None
    if hour > 24 or minute > 59 or second > 59:
        return None
    return Time(hour * _HOUR_LENGTH + minute * 60 + second, half)


def read_hour(text: str) -> int | None:
    """Returns the number of a text that is a full hour in these words, `3 o'clock`, else None."""
    found = _O_CLOCK.fullmatch(text)
    return int(found[1]) if found else None


def read_date(text: str) -> Date | None:
    """Returns the date that a text is, its month in words, else None: `July 4, 1776`, `4th of July`."""
    for form in _DATES:
        if found := form.fullmatch(text):
            year, day = found["year"], int(found["day"])
            if 1 <= day <= 31:
                month = _MONTHS.index(found["month"][:3].lower()) + 1
                return Date(int(year) if year else None, month, day)
    return None


def same_time(one: Time, other: Time) -> bool:
    """Returns whether two times may be one: `3:30` is `3:30 pm`, `15:30` is not `3:30 am`."""
    if bool(one.half) == bool(other.half) or max(one.seconds, other.seconds) >= 13 * _HOUR_LENGTH:
        return _since_midnight(one) == _since_midnight(other)
    return one.seconds % (12 * _HOUR_LENGTH) == other.seconds % (12 * _HOUR_LENGTH)


def _since_midnight(time: Time) -> int:
    if not time.half:
        return time.seconds
    return time.seconds % (12 * _HOUR_LENGTH) + (12 * _HOUR_LENGTH if time.half == "p" else 0)


def read_structure(text: str) -> Structure | None:
    """Returns the elements of a set, tuple, interval or list, None if a text is neither.

    Sets end in braces. Without brackets, elements are separated by commas, semicolons, `and` or `or`.
    """
    if len(text) > _LONGEST:
        return None
    brackets = ""
    if _BRACKET.fullmatch(text) and _is_one_bracket(text):
        brackets, text = text[0] + text[-1], text[1:-1]
    elements = _split(text)
    if elements is None or (len(elements) < 2 and brackets != "{}"):
        return None
    if any(not 0 < len(element) <= _LONGEST_ELEMENT for element in elements):
        return None
    return Structure(brackets, elements)


def _is_one_bracket(text: str) -> bool:
    """Returns whether the first bracket closes at the end of the text."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return position == len(text) - 1
    return False


def _split(text: str) -> list[str] | None:
    """Returns the parts between separators outside brackets, None where brackets do not balance."""
    parts, depth, begin = [], 0, 0
    for found in _SEPARATOR.finditer(text):
        if found[0] in "([{":
            depth += 1
        elif found[0] in ")]}":
            depth -= 1
            if depth < 0:
                return None
        elif depth == 0:
            parts.append(text[begin : found.start()].strip())
            begin = found.end()
    return [*parts, text[begin:].strip()] if depth == 0 else None
