"""From a text that holds an answer to the answer: `18` of `The answer is $\\boxed{18}$ dollars.`"""

import re
import unicodedata
from typing import Literal, NamedTuple

from lorapar_cli.grading.reading.doubt import (
    is_bounded_before,
    is_denied_after,
    is_denied_before,
    is_one_of_several,
)
from lorapar_cli.grading.reading.number_words import write_digits
from lorapar_cli.grading.reading.plain import plain
from lorapar_cli.grading.reading.quantity import Quantity, read_quantity
from lorapar_cli.grading.reading.scan import last_quantity
from lorapar_cli.grading.reading.structures import read_structure, read_time

MARKS = "*_`\"'“”‘’«» \t\r\n"
_LONGEST = 5000
_MOST_LAYERS = 8
_WRAPPED = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"\$\$?([^$]*)\$\$?",
        r"\\\((.*)\\\)",
        r"\\\[(.*)\\\]",
        r"(?:\\text(?:bf|it|rm)?|\\math(?:rm|bf|it)|\\mbox)\s?\{([^{}]*)\}",
        r"<(?:final_?)?answer>(.*?)(?:</(?:final_?)?answer>)?",
        r"<([^<>/]{1,200})>",
        r"(?:\\displaystyle\s?)(.*)",
        # Brackets of a template that was filled in; a set's braces are `\{`.
        r"\{([^{},\\]{1,200})\}",
        r"\[([^\[\](){},;\\]{1,200})\]",
    )
]
_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,3}\{")
_HASH = re.compile(r"#{2,6}[ \t]*")
_ADVERB = (
    r"so|thus|therefore|hence|then|finally|well|okay|ok|clearly|simply|just|only|exactly"
    r"|precisely|indeed|probably|definitely|obviously|also|equal to|equals|given by|of|that"
)
_NEAR = (
    r"about|approximately|approx\.?|around|roughly|nearly|almost|circa|ca\.|some|a total of"
    r"|in total|(?:at|no|not) (?:least|most|more than|less than|fewer than)|up to|a minimum of"
    r"|a maximum of"
)
_SUBJECT = r"it|that|this|there|which|he|she|they|we|i|you"
_VERB = (
    r"is|are|was|were|will be|would be|must be|should be|has to be|equals|makes|gives|comes to"
    r"|becomes|seems to be"
)
_LEADS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:{_SUBJECT})(?:'s|\s(?:{_VERB}))\s+(?=\S)",
        rf"(?:{_ADVERB})\b[,:]?\s+(?=\S)",
        rf"(?:{_NEAR})\s+(?=\S)",
        r"(?:[≈~:→⇒➜➔∴✅✔✓☑]\ufe0f?|[-=]{1,2}>|=)\s*(?=\S)",
        r"ans\.?:?\s+(?=\S)",
        # `In 1776.`, and nothing more.
        r"(?:in|on|at|by|after)\s+(?=\d[\d.,]*[.!]?$)",
        r"(?:the |my |our |your |a |an |its )?(?:[a-z]{2,12} ){0,3}?(?:answers?|result|solution|total|sum"
        rf"|value|antwort|respuesta|réponse)(?:\s+to [^.:\n]{{1,80}}?)?\s*(?:(?:{_VERB})\b|[:=])"
        r"[\s:*]*(?=\S)",
        # A label: `Total cost: $64`, `x = 4`, `f(x) = 4`, `x_1 = 4`.
        r"[a-z](?:[a-z' ]{0,40}[a-z])?(?:_\{?\w\}?|\([a-z]\))?\s?(?:[:=]|∈)(?!=)\s*(?=\S)",
    )
]
# The option's letter before its text, which is what the reference gives.
_OPTION = re.compile(r"\(?[A-J]\)\s+(?=\S)|[A-J][.:]\s+(?=[-+$€£]?\d)")
_EQUALS = re.compile(r"(?<![<>!=≤≥:])=(?![=<>])")
# Before the last equals sign: `x = 1 or x = 2`, `x = 1, y = 2`.
_SECOND_EQUATION = re.compile(r"[,;]\s*[A-Za-z](?:_\w)?\s*$|\b(?:or|and)\b")
_PUNCTUATION = " .,;:!?…\n" + MARKS + ")]}"
_WORD = re.compile(r"[^\W\d_]+")
_FIRST_WORD = re.compile(r"\s*([^\W\d_]['\w-]*)")
_LOWER_WORD = re.compile(r"(?<![\w\\])(?:[a-z]|[^\W\d_\x00-\x7f]){2,}(?![\w(])")
# After a number these are arithmetic, not what is counted.
_ARITHMETIC = re.compile(
    r"\s*(?:squared|cubed|sin|cos|tan|cot|sec|log|ln|exp|sqrt|roots?|pi|mod|modulo|choose"
    r"|factorial|plus|minus|divided|multiplied|raised|to the power|times\s+[-(\d]"
    r"|times\s+[a-z]\b(?!\s+(?:week|day|year|month))|(?:over|by)\s+[-(\d]"
    r"|(?:[a-z]{2,15} )?(?:more|less|fewer|greater|smaller) than|half|halves|or more|or less"
    r"|jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|april|may|june?|july?|aug(?:ust)?|sep(?:tember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b",
    re.IGNORECASE,
)
_STORY = re.compile(r"[^.\n]{0,80}?[,;] (?:and |but )?(?:now|then|so|leaving|later)\b[^.\n]*\d")
_FORMULA = re.compile(
    r"[^$\\\n]{0,40}?(?:\$\$?([^$\n]{1,400})\$|\\\(([^\n]{1,400}?)\\\)|\\\[([^\n]{1,400}?)\\\])"
)
_ASSIGNED = re.compile(r"[A-Za-z](?:_\{?\w\}?)?\s?=[^=]+$")
_OF_CLOCK = re.compile(r"\s?(?:[ap]\.?\s?m|o'clock)\b|\?\s*No\b", re.IGNORECASE)
_FEET_AND_INCHES = re.compile(r"\d'\s?\d+\"$")
# `In total, 12 students` is no list of two.
_INTRODUCTION = re.compile(
    r"(?:in|after|before|as|by|at|on|for|with|from|over|during|so|once|when)\s[^\d]*(?:\d{4})?"
    r"|overall|altogether|finally|therefore|thus|hence|then|now|so",
    re.IGNORECASE,
)
_COPULA = re.compile(r"\s(?:is|was|are|were)(?:\s(?:called|named))?\s+")
_ARTICLE = re.compile(r"(?:the|a|an)\s+(?=\S)", re.IGNORECASE)
_CUT = re.compile(
    r"[.!?](?:\s|$)|[,;]\s|\s\(|\n|\s(?:because|since|which|who|where|as|with|after|and)\s", re.I
)
_MOST_WORDS = 6
# Behind a number, none of these goes on with the expression: a comment, emphasis, a column of a
# table, an arrow to words, a bracket that was never opened, data, an escape that is spelled out,
# a mark of a footnote, an emoticon.
_ASIDE = re.compile(
    r"\s*(?:#|/\*|\\[nrt](?![a-z])|\\u[0-9a-f]{4}|\{\s*[\"']|[…•†‡§¶“‘«„]"
    r"|(?://|\|{1,2}|[-=]?[-=]>|→|⇒)\s*(?:[^\W\d]{2}|$)|[)\]}]+(?:[\s.,;:!?]+[^\W\d]{2}|[\s.,]*$)"
    r"|[&:]\s+[^\W\d]{2})|\s(?:[*_]{1,3}[^\W\d_]{2}|[:;=]-?[()DPp](?:\s|$)|\^_*\^)"
)

Kind = Literal["bare", "prose"]


class Opened(NamedTuple):
    """A text that begins with a quantity.

    Attributes:
        quantity: The quantity; its positions are those in `text`.
        text: The text in plain words, without what introduces the quantity.
        kind: `bare` if nothing but a unit and the end of a sentence follows.
    """

    quantity: Quantity
    text: str
    kind: Kind

    @property
    def tail(self) -> str:
        """What follows the quantity."""
        return self.text[self.quantity.end :].strip(_PUNCTUATION)


def unwrap(text: str) -> str:
    """Returns a text without the marks and forms that are around all of it."""
    text = text[:_LONGEST]
    for _ in range(_MOST_LAYERS):
        before = text
        text = text.strip() if _FEET_AND_INCHES.search(text.strip()) else text.strip(MARKS)
        if hashes := _HASH.match(text):
            text = text[hashes.end() :]
        if inside := _only_box(text):
            text = inside
        for pattern in _WRAPPED:
            if (found := pattern.fullmatch(text)) and found[1].strip():
                text = found[1]
        if text == before:
            break
    return text


def _only_box(text: str) -> str | None:
    """Returns what is in the box that a text ends or begins with, else None."""
    opening = _BOX.search(text)
    if opening is None:
        return None
    depth = 1
    for position in range(opening.end(), len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if depth == 0:
            again = _BOX.search(text, position)
            return text[opening.end() : position] if again is None else None
    return text[opening.end() :]


def readable(text: str, *, math: bool = False) -> str:
    """Returns a text in plain words with its numbers in digits."""
    text = plain(text, math=math)
    if _FEET_AND_INCHES.search(text.strip()):
        return text.strip()
    return write_digits(text.strip(MARKS)).strip(MARKS)


def without_lead(text: str) -> str:
    """Returns plain text without the words that introduce an answer: `about`, `x =`, `(B)`."""
    for _ in range(_MOST_LAYERS):
        before = text
        if option := _OPTION.match(text):
            text = text[option.end() :]
        for lead in _LEADS:
            if found := lead.match(text):
                text = text[found.end() :].lstrip(MARKS)
        if text == before:
            break
    return text


def quantity_of(text: str) -> Opened | None:
    """Returns the one quantity that plain text without its lead begins with, else None.

    What follows may say what is counted and go on in prose, but not deny the number, offer
    another one or calculate with it. Of an equation it is the side that is a quantity.
    """
    sides = _EQUALS.split(text[:_LONGEST])
    if len(sides) > 1:
        if any(_SECOND_EQUATION.search(side) for side in sides[:-1]):
            return None
        last = _one_quantity(sides[-1].strip())
        return last or _one_quantity(sides[0].strip())
    return _one_quantity(text)


def _one_quantity(text: str) -> Opened | None:
    if text.startswith("(") and text.endswith(")") and "," not in text:
        text = text[1:-1].strip()
    quantity = read_quantity(text)
    if quantity is None:
        return None
    kind = _kind_of(text[quantity.end :])
    return Opened(quantity, text, kind) if kind else None


def _kind_of(rest: str) -> Kind | None:
    """Returns what follows a quantity: nothing, prose, or (None) more of the same expression."""
    if not rest.strip(_PUNCTUATION):
        return "bare"
    if (
        _OF_CLOCK.match(rest)
        or is_denied_after(rest)
        or is_one_of_several(rest.lstrip(","))
        or _ARITHMETIC.match(rest)
    ):
        return None
    first = rest.lstrip(" ")[:1]
    if first in ".;!?\n" or _ASIDE.match(rest) or _is_picture(first):
        return "bare"
    if first == ",":
        return None if re.match(r"\s*,\s*(?:and )?[-+$€£(]?[\d.]", rest) else "bare"
    if first in "([\"'":
        return None if re.match(r"\s*\(\s*mod", rest, re.IGNORECASE) or rest[0] != " " else "bare"
    if rest[0] == ":":
        return "prose"
    if first.isalpha() and first > "\u02ff":
        # Scripts that put no space between a number and what is counted.
        return None if re.search(r"\d", rest[:40]) else "prose"
    if rest[0] != " " and first not in "-—/":
        return None
    if re.match(r"\s?(?:—|--?\s+[^\W\d]{2})", rest):
        return "prose"
    word = _FIRST_WORD.match(rest)
    if word is None:
        return None
    if len(word[1]) == 1 and not re.match(r"\s(?:[aàI]|[yeo]\s[^\W\d_]{2})", rest):
        return None
    return "prose"


def _is_picture(character: str) -> bool:
    """Returns whether a character is an emoji, a tick or the like; a degree is a unit."""
    return unicodedata.category(character) == "So" and character != "°"


def begins_with_quantity(text: str, *, math: bool = False) -> Kind | None:
    """Returns `bare` if a text is one quantity or one time, `prose` if it says more, else None."""
    core = without_lead(readable(unwrap(text), math=math))
    opened = quantity_of(core)
    if opened:
        return opened.kind
    return "bare" if read_time(core.strip(_PUNCTUATION)) else None


def is_several(text: str) -> bool:
    """Returns whether plain text is a set, a tuple, an interval or a list of short elements."""
    structure = read_structure(text)
    if structure is None or not all(map(_is_element, structure.elements)):
        return False
    return bool(structure.brackets) or _INTRODUCTION.fullmatch(structure.elements[0]) is None


def _is_element(text: str) -> bool:
    if "=" in text and not _ASSIGNED.match(text):
        return False
    words = len(_LOWER_WORD.findall(text))
    if not any(character.isdigit() for character in text):
        return words <= 2
    return words == 0 or quantity_of(text) is not None


def open_answer(text: str, *, math: bool = False) -> str:
    """Returns the answer that a text in an explicit form says, as it is written where possible."""
    inside = unwrap(text)
    whole = readable(inside, math=math)
    core = without_lead(whole)
    opened = quantity_of(core)
    if opened and goes_on(core, opened) and (found := last_quantity(core)):
        return found
    if opened:
        if opened.text == whole and opened.kind == "bare" and not opened.tail:
            return inside.rstrip(" ." if math else " .!")
        return opened.text[opened.quantity.start : opened.quantity.end].strip()
    bare = core.rstrip(" .!")
    if read_time(bare) or is_several(bare):
        return inside.rstrip(" .") if core == whole else bare
    words = len(_LOWER_WORD.findall(core))
    if words >= 2 and any(character.isdigit() for character in core):
        found = last_quantity(core)
        if found and not _offers_several(core):
            return found
    if core == whole and words < 2:
        return inside.rstrip(" .")
    return _words_of(without_lead(plain(inside, math=math).strip(MARKS)))


def goes_on(text: str, opened: Opened) -> bool:
    """Returns whether the first number of a sentence is only where its story begins."""
    return text.endswith(opened.text) and bool(_STORY.match(opened.text, opened.quantity.end))


def _offers_several(text: str) -> bool:
    return re.match(r"(?:not|either|between|neither|more than|less than)\b", text, re.I) is not None


def _words_of(text: str) -> str:
    """Returns the answer of a sentence without numbers: `Lima` of `The capital is Lima.`"""
    parts = _COPULA.split(text.rstrip(" .!"))
    if len(parts) == 2 and not is_denied_before(f"{parts[0]} ") and parts[1]:
        complement = _CUT.split(parts[1])[0]
        if not re.match(r"(?:not|never|no)\b", complement, re.IGNORECASE):
            return _ARTICLE.sub("", complement, count=1).strip(MARKS)
    return text.rstrip(" .")


def first_formula(text: str) -> str | None:
    """Returns the LaTeX formula with which a text begins after its lead, unless it is a quantity."""
    found = _FORMULA.match(text)
    if found is None or "boxed" in text:
        return None
    formula: str = next(filter(None, found.groups())).strip()
    is_plain = quantity_of(without_lead(readable(formula, math=True))) is not None
    return None if is_plain or not re.search(r"\\[A-Za-z]|\^", formula) else formula


def said_words(text: str) -> str | None:
    """Returns the few words with which plain text begins, up to the end of the clause, else None."""
    head = _CUT.split(text.strip(MARKS), maxsplit=1)[0].strip(MARKS + ".!")
    words = head.split()
    return head if words and len(words) <= _MOST_WORDS else None


def is_bounded(before: str) -> bool:
    """Returns whether what is said before a number denies it or makes it a bound."""
    return is_denied_before(before) or is_bounded_before(before)
