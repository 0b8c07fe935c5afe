"""Finds what a text says to be the answer: `The answer is 18`, `Antwort: 18`, `答案是18`."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from lorapar_cli.grading.reading.opening import (
    first_formula,
    is_several,
    open_answer,
    quantity_of,
    readable,
    said_words,
    unwrap,
    without_lead,
)
from lorapar_cli.grading.reading.plain import plain
from lorapar_cli.grading.reading.scan import last_quantity
from lorapar_cli.grading.reading.structures import read_time

_NOUN = (
    r"\banswers?|\bantwort(?:en)?|\brespuesta|\bréponse|\breponse|\brisposta|\bresposta"
    r"|\bodpowiedź|\bantwoord|\bcevap|\bsvar(?:et)?|\bjibu|ответ|答案|答え|正解|정답|답|উত্তর|సమాధానం|คำตอบ|उत्तर|जवाब|الإجابة|الجواب|תשובה"
    r"|\bjawaban(?:nya)?|đáp án|đáp số|kết quả|\bvastaus|\bválasz|\bodpověď|απάντηση"
)
_BE = (
    r"is|are|was|were|will be|would be|must be|should be|has to be|might be|may be|could be"
    r"|can only be|equals|comes (?:out )?to|works out to|turns out to be|seems to be|appears to be"
    r"|ist|lautet|beträgt|es|est|è|é|är|jest|ni|adalah|là|je|είναι"
)
_NOUNS = re.sub(r"\\b|\(\?:[a-z]+\)\?|s\?", "", _NOUN).split("|")
STATED = re.compile(
    rf"(?:{_NOUN})[*_\"']{{0,3}}(?:\s(?:choice|option|letter))?(?:\sto\s[^.:\n]{{1,80}}?)?"
    rf"(?:\s(?:correcta?|finale?|ist|is))?"
    rf"(?P<verb>[*_\s]{{0,4}}(?:[:：→⇒]|[-=]>|=(?!=))|\s?(?:(?:{_BE})\b(?:\s*[:：])?|(?:n't|\snot|\scannot be)\b"
    rf"|是|为|為|は|은|는|คือ|হলো?|হচ্ছে|है|هي|هو|—|-(?=\s)))"
    r"(?P<after>[*_\s]{0,8})",
    re.IGNORECASE,
)
_NEGATED = re.compile(
    r"(?:n't|not|never|no longer|cannot be|can't be|nicht|neither)\b", re.IGNORECASE
)
_INSTEAD = re.compile(
    r"\b(?:but(?: rather)?|rather|instead|it is|it's|sondern)\s(?!not\b)", re.IGNORECASE
)
_CONTRAST = re.compile(r"\b(?:not|but|never|rather)\b", re.IGNORECASE)
_COMPUTED = re.compile(r",? (?:which|that) (?:is|equals|makes|gives|comes to) (?=[-$€£]?\d)")
# `The answer is 8, no wait, it's 7.`
CORRECTED = re.compile(
    r"[\s.,;:!()—-]+(?:(?:no|wait|oops|sorry|hold on|correction|scratch that|i mean|make that)\b"
    r"[\s.,;:!—-]*)+",
    re.IGNORECASE,
)
_MOST_STATEMENTS = 40
_LONGEST_CLAUSE = 400
_MOST_LEAD_WORDS = 4


class Said(NamedTuple):
    """An answer that a text says.

    Attributes:
        text: The answer.
        start: Where it begins in the text.
        is_quantity: Whether it is a number, a time or several of them, not words.
    """

    text: str
    start: int
    is_quantity: bool


def clauses(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yields position, text and denial of what follows each `the answer is`, the last one first.

    What is denied is followed by what it is instead, if that is said: `not 18 but 20`.
    """
    lowered = text.lower()
    if not any(noun in lowered for noun in _NOUNS):
        return  # much faster than the pattern
    for cue in reversed(list(STATED.finditer(text))[-_MOST_STATEMENTS:]):
        clause = text[cue.end() : cue.end() + _LONGEST_CLAUSE].partition("\n")[0]
        denied = _NEGATED.search(cue["verb"]) is not None or _NEGATED.match(clause) is not None
        if denied:
            instead = _INSTEAD.search(clause)
            if instead is None:
                yield cue.end(), clause, True
                continue
            yield cue.end() + instead.end(), clause[instead.end() :], False
        else:
            yield cue.end(), clause, False


def last_statement(text: str) -> tuple[Said | None, bool]:
    """Returns the last answer that is said, and whether one is only denied.

    A statement of a number counts before one of words.
    """
    words: Said | None = None
    denied = False
    for start, clause, is_denied in clauses(text):
        if is_denied:
            denied = True
            continue
        said = _read(clause, start)
        if said is None:
            continue
        if said.is_quantity:
            return _corrected(text, said) or said, denied
        words = words or said
    return words, denied


def _corrected(text: str, said: Said) -> Said | None:
    """Returns the quantity that takes the place of one right after it, else None."""
    rest = text[said.start : said.start + _LONGEST_CLAUSE]
    for cue in CORRECTED.finditer(rest):
        sentence = re.split(r"[.!]?(?:\s|$)(?=[A-Z\n]|$)", rest[cue.end() :], maxsplit=1)[0]
        opened = quantity_of(without_lead(readable(sentence)))
        if opened is not None and opened.kind == "bare":
            return Said(open_answer(sentence), said.start + cue.end(), True)
    return None


def _read(clause: str, start: int) -> Said | None:
    if formula := first_formula(clause):
        return Said(formula, start, True)
    inside = unwrap(clause) if clause.count("$") <= 2 else clause
    core = without_lead(readable(inside))
    if not core:
        return None
    if quantity_of(core) or read_time(core.rstrip(" .!")):
        return Said(open_answer(clause), start, True)
    sentence = re.split(r"\.(?:\s|$)|\s(?:because|since)\s", core, maxsplit=1)[0].rstrip(" .")
    if is_several(sentence) and not _CONTRAST.search(sentence):
        return Said(sentence, start, True)
    if computed := _COMPUTED.search(sentence):
        return _read(sentence[computed.end() :], start)
    if core[0].isdigit() or core[:2].lstrip("+-$€£").isdigit():
        # A number that is denied, offered with others or part of an expression.
        return Said(sentence, start, True)
    head = said_words(without_lead(plain(inside)))
    if head and not any(character.isdigit() for character in head):
        return Said(head, start, False)
    number = last_quantity(head) if head and len(head.split()) > 1 else None
    if number:
        return Said(number, start, True)
    return Said(head, start, bool(re.search(r"\d", head))) if head else None
