"""Finds the last quantity of plain text: the one that a calculation ends in."""

import re
from typing import NamedTuple

from lorapar_cli.grading.reading.doubt import is_bounded_before, is_denied_after, is_denied_before
from lorapar_cli.grading.reading.quantity import find_quantities, read_quantity

_WINDOW = 64
_AFTER_START = re.compile(r"[-+]?[ ]?\d")
# Digits that belong together and are no number: times, dates, ratios.
_TOGETHER = re.compile(
    r"\d{1,2}:\d{2}(?::\d{2})?(?!\d)(?:[ ]?[ap]\.?[ ]?m\b\.?)?|\d{1,2}[ ]?(?:[ap]\.?m\b\.?|o'clock\b)"
    r"|\d{4}-\d{1,2}-\d{1,2}(?!\d)|\d{1,2}([./])\d{1,2}\1\d{2,4}(?!\d)|\d+(?::\d+)+",
    re.IGNORECASE,
)
_MONTH = re.compile(
    r"\b(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?[ ]$",
    re.IGNORECASE,
)
_EXPRESSION = re.compile(r"[^\s,;]{1,80}")
_LABEL = re.compile(r"\b(?:step|figure|fig\.|equation|eq\.|method|case|part)[ ]#?$", re.IGNORECASE)
_MARKER = re.compile(r"[.):](?=\s)")
_EITHER = re.compile(r"(?:[ ][^\W\d]{1,15}){0,2}[ ](?:to[ ]|or[ ](?:[^\W\d]{1,8}[ ])?)")
_TO = re.compile(r"(?:[ ][^\W\d]{1,15}){0,2}[ ]to[ ]")
_DASH = re.compile(r"[ ]?-[ ]?")
_BETWEEN = re.compile(r"(?:[ ][^\W\d]{1,15})?[ ]and[ ]")
# `14 of the 20` says 14.
_WHOLE = re.compile(
    r"\d(?:[ ][^\W\d]{1,15}){0,2}[ ](?:out[ ])?of[ ](?:all[ ])?(?:the|these|those|his|her|their|its|our|my)[ ]$"
)
_LONGEST_BETWEEN = 80


class _Item(NamedTuple):
    start: int
    end: int
    is_number: bool


def last_quantity(text: str) -> str | None:
    """Returns the last quantity of plain text, as it is written there, else None.

    A number that is denied (`not 20`) or only compared with (`more than 16`) is passed over, and
    so are the numbers of steps. A range, a time and a number within an expression are returned
    whole, since none of their parts is the answer.
    """
    starts = list(find_quantities(text))
    for begin in range(0, len(starts), _WINDOW):
        window = sorted(starts[begin : begin + 2 * _WINDOW])
        items = _items(text, window)
        for position in range(len(items) - 1, -1, -1):
            item = items[position]
            if _is_passed_over(text, item):
                continue
            if position and (span := _range(text, items[position - 1], item)):
                return text[span[0] : span[1]].strip()
            return text[item.start : item.end].strip()
    return None


def _items(text: str, starts: list[int]) -> list[_Item]:
    """Returns the numbers and the groups of digits that begin at these places."""
    items: list[_Item] = []
    end = 0
    for start in starts:
        if start < end:
            continue
        if _is_name(text, start):
            continue
        month = _MONTH.search(text, max(0, start - 12), start)
        if month and re.match(r"\d{1,2}(?!\d)", text[start : start + 3]):
            day = re.compile(r"\d{1,2}(?:st|nd|rd|th)?(?:,? \d{4}(?!\d))?").match(text, start)
            item = _Item(month.start(), day.end() if day else start, False)
        elif together := _TOGETHER.match(text, start):
            item = _Item(start, together.end(), False)
        elif quantity := read_quantity(text, start):
            item = _Item(start, quantity.end, True)
        elif re.match(r"[-+]?[$€£]?\d[\d.,]*-[^\W\d]", text[start : start + 40]):
            continue  # `3-year-old`
        elif expression := _EXPRESSION.match(text, start):
            before = re.search(r"[^\s,;$=]{0,40}$", text[max(0, start - 40) : start])
            first = start - len(before[0]) if before else start
            item = _Item(first, start + len(expression[0].rstrip(".!?*)")), False)
        else:
            continue
        items.append(item)
        end = item.end
    return items


def _is_name(text: str, start: int) -> bool:
    """Returns whether digits belong to a word: `COVID-19`, `GPT-4`."""
    return re.search(r"[^\W\d_]{2,}-?$|[^\W\d_]-$", text[max(0, start - 12) : start]) is not None


def _is_passed_over(text: str, item: _Item) -> bool:
    before = text[max(0, item.start - 80) : item.start]
    if is_denied_before(before) or is_bounded_before(before) or _LABEL.search(before):
        return True
    if _WHOLE.search(before):
        return True
    if is_denied_after(text[item.end : item.end + 200]):
        return True
    # The number of a list's item, unless it is all that there is.
    alone = not before.rpartition("\n")[2].strip(" \t*_>-")
    marker = _MARKER.match(text, item.end)
    return bool(alone and marker and text[marker.end() : marker.end() + 80].strip())


def _range(text: str, first: _Item, second: _Item) -> tuple[int, int] | None:
    """Returns the span of two numbers that are one statement, `20 to 30`, else None."""
    between = text[first.end : second.start]
    if len(between) > _LONGEST_BETWEEN or not (first.is_number and second.is_number):
        return None
    before = text[max(0, first.start - 20) : first.start]
    is_one = bool(_EITHER.fullmatch(between))
    if _TO.fullmatch(between) and re.search(r"\bfrom\s*$", before, re.IGNORECASE):
        is_one = False
    if _BETWEEN.fullmatch(between):
        is_one = between == " and " or re.search(r"\bbetween\s*$", before, re.I) is not None
    if _DASH.fullmatch(between):
        one, other = read_quantity(text, first.start), read_quantity(text, second.start)
        is_one = one is not None and other is not None and one.value < other.value
    return (first.start, second.end) if is_one else None
