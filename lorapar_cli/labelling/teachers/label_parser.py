"""Extracts the label from the text of a teacher's answer."""

import json
import re
import unicodedata
from collections.abc import Iterator

from lorapar_cli.grading.reading.clean import without_thoughts
from lorapar_cli.names import System

_NUMBERS = {"1": System.SYSTEM1, "one": System.SYSTEM1, "2": System.SYSTEM2, "two": System.SYSTEM2}
_SYSTEM = r"system[\s_\-\u2010-\u2015*`]*(?:1|2|one|two)(?![a-z0-9]|\.\d)"
_MENTION = re.compile(rf"(?<![a-z]){_SYSTEM}", re.IGNORECASE)
_DENIED = re.compile(
    r"(?:\b(?:not|cannot|never|no|without|neither|nor|rather than|instead of|as opposed to)|n't)\s+"
    r"(?:(?:a|an|the|in|of|be|by|for|any|it|call|need|require|really|just|simply|purely|pure)\s+)*"
    r"\W*$"
)
_MAX_DENIAL = 50
_JSON_LABEL = re.compile(
    r'"(?:label|system|classification|verdict)"\s*:\s*("(?:[^"\\]|\\.)*"|[12]|null)', re.IGNORECASE
)
_STATEMENT = re.compile(
    r"(?:label|answer|classification|verdict|conclusion)\W{0,4}(?:\s+is)?\W{0,6}"
    rf"({_SYSTEM})",
    re.IGNORECASE,
)
_OTHER_TOO = re.compile(
    r"\W*(?:or|and|/|\||&|and/or)\W*(?:system\b)?[\s_\-*]*(?:1|2|one|two)(?![a-z0-9]|\.\d)",
    re.IGNORECASE,
)
# What separates two labels that are given side by side, as in a list or an echoed prompt.
_SIDE_BY_SIDE = re.compile(r'(?:"[^"]*"|\b(?:or|and|json)\b|[^\w"]|[\d_])*', re.IGNORECASE)
_MAX_LAST_LINE_WORDS = 6
_FENCED = re.compile(r"\s*(?:```(?:json)?\s)?(.*?)(?:```\s*)?", re.IGNORECASE | re.DOTALL)


def parse_label(text: str) -> System | None:
    """Returns the one system that an answer names, or None if it names both or neither.

    Thoughts in `<think>` tags are ignored. Then, in this order: a JSON field `label`; the last
    statement of the form "answer: System 2"; the only system in the whole text; a short last line.
    The last of several labels counts, unless the other label is given side by side with it.
    """
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    text = without_thoughts(text).strip()
    if (bare := text.strip("*`\"'.()[] ")) in ("1", "2"):
        return _NUMBERS[bare]
    fields = [(found.span(), _field(found[1])) for found in _JSON_LABEL.finditer(text)]
    if fields:
        # A chain of thought may try labels before the last one.
        return _last(text, fields)
    statements = [(found.span(), _stated_label(text, found)) for found in _STATEMENT.finditer(text)]
    if statements:
        return _last(text, statements)
    mentions = list(_mentions(text))
    named = {label for _, label in mentions}
    if len(named) < 2:
        return next(iter(named), None)
    last_line = text.rfind("\n") + 1
    if len(text[last_line:].split()) > _MAX_LAST_LINE_WORDS:
        return None
    at_last = {label for (begin, _), label in mentions if begin >= last_line}
    return _last(text, mentions) if len(at_last) == 1 else None


def parse_cut_label(text: str) -> System | None:
    """Returns the system that a truncated answer names, or None.

    The missing text might say the opposite ("System 2 questions need ..."), so an answer counts
    only if it is complete: one JSON object after any thoughts, and nothing else.
    """
    fenced = _FENCED.fullmatch(without_thoughts(text))
    content = fenced[1] if fenced else ""
    try:
        complete = isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return None
    return parse_label(content) if complete else None


def _last(text: str, found: list[tuple[tuple[int, int], System | None]]) -> System | None:
    """Returns the last label, or None if another one is given side by side with it."""
    (begin, _), label = found[-1]
    if len(found) > 1:
        (_, end), before = found[-2]
        if before not in (label, None) and _SIDE_BY_SIDE.fullmatch(text, end, begin):
            return None
    return label


def _field(value: str) -> System | None:
    try:
        content = str(json.loads(value))
    except ValueError:  # A lone backslash, as models write it.
        return None
    named = {label for _, label in _mentions(content)}
    return _NUMBERS.get(content.strip()) or (next(iter(named)) if len(named) == 1 else None)


def _stated_label(text: str, found: re.Match[str]) -> System | None:
    return None if _OTHER_TOO.match(text, found.end()) else _number(found[1])


def _number(mention: str) -> System:
    return next(label for end, label in _NUMBERS.items() if mention.lower().endswith(end))


def _mentions(text: str) -> Iterator[tuple[tuple[int, int], System | None]]:
    """Yields span and system of each mention in a text, except after a negation.

    "System 1 or 2" names both; the second of them is None.
    """
    for found in _MENTION.finditer(text):
        before = text[max(0, found.start() - _MAX_DENIAL) : found.start()].lower()
        if not _DENIED.search(before):
            yield found.span(), _number(found[0])
            if _OTHER_TOO.match(text, found.end()):
                yield found.span(), None
