"""Reads a teacher's label out of whatever words it answered with."""

import json
import re

from lorapar_cli.names import System

_NUMBERS = {"1": System.SYSTEM1, "one": System.SYSTEM1, "2": System.SYSTEM2, "two": System.SYSTEM2}
_MENTION = re.compile(r"(?<![a-z])system[\s_\-*`]*(1|2|one|two)(?![a-z0-9])", re.IGNORECASE)
_DENIED = re.compile(
    r"(?:\bnot|n't|rather than|instead of|neither|nor)\s+(?:(?:a|an|the|in|of)\s+)?\W*$"
)
_JSON_LABEL = re.compile(
    r'"(?:label|system|classification|verdict)"\s*:\s*("(?:[^"\\]|\\.)*"|[12])', re.IGNORECASE
)
_VERDICT = re.compile(
    r"(?:label|answer|classification|verdict|conclusion)\W{0,4}(?:\s+is)?\W{0,6}"
    r"(system[\s_\-*`]*(?:1|2|one|two)(?![a-z0-9]))",
    re.IGNORECASE,
)
_OTHER_TOO = re.compile(r"\W*(?:or|and|/|and/or)\W*(?:system\b)?[\s_\-]*[12]", re.IGNORECASE)
_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = re.compile(r"^.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_THOUGHT_OPEN = re.compile(r"<think(?:ing)?>.*$", re.DOTALL | re.IGNORECASE)
_MOST_VERDICT_WORDS = 6


def parse_label(text: str) -> System | None:
    """Returns the one system that an answer names, or None where it names both or neither.

    In this order: thoughts in `<think>` tags are left out; a JSON field `label`; the last
    sentence of the form "answer: System 2"; a short last line; a single system in the whole text.
    """
    text = _THOUGHT_OPEN.sub("", _THOUGHT_END.sub("", _THOUGHT.sub("", text))).strip()
    if text.strip("*`\"'. ") in ("1", "2"):
        return _NUMBERS[text.strip("*`\"'. ")]
    fields = [_field(found) for found in _JSON_LABEL.findall(text)]
    if fields:
        # A chain of thought may try labels before the last one; a schema's text is no label.
        return fields[-1]
    verdicts = list(_VERDICT.finditer(text))
    if verdicts:
        last = verdicts[-1]
        return None if _OTHER_TOO.match(text[last.end() :]) else _only(_named(last[1]))
    whole = _only(_named(text))
    if whole is not None or not text:
        return whole
    line = text.splitlines()[-1]
    return _only(_named(line)) if len(line.split()) <= _MOST_VERDICT_WORDS else None


def _field(value: str) -> System | None:
    content = str(json.loads(value)) if value.startswith('"') else value
    return _NUMBERS.get(content.strip()) or _only(_named(content))


def _named(text: str) -> set[System]:
    """Returns the systems that a text names, those after a negation left out."""
    return {
        _NUMBERS[match[1].lower()]
        for match in _MENTION.finditer(text)
        if not _DENIED.search(text[max(0, match.start() - 30) : match.start()].lower())
    }


def _only(named: set[System]) -> System | None:
    return next(iter(named)) if len(named) == 1 else None
