"""Reads which option a text chooses: `B` of `Answer: **B**`, `option B`, `\\boxed{\\text{(B)}}`.

A letter counts where it is marked, `(B)`, or where the text says that it is chosen. The article
`A` and the pronoun `I` are words wherever a sentence goes on after them, and small letters count in
marked form or directly after `the answer is` only. Two letters side by side, `A and B`, are no
choice, and neither is a letter that is denied, `not B`.
"""

import re
from typing import NamedTuple

from lorapar_cli.grading.reading.clean import clean
from lorapar_cli.grading.reading.forms import first_hash_line, last_enclosed
from lorapar_cli.grading.reading.opening import unwrap
from lorapar_cli.grading.reading.plain import plain
from lorapar_cli.grading.reading.statements import CORRECTED, clauses

_MARKS = "*_`\"'“”‘’$ \t\r\n"
_QUOTE = r"[*\"'$`“”]{0,3}"
# A letter in brackets or alone, then the end of what names it.
_LETTER = (
    rf"{_QUOTE}(?P<open>[(\[{{<][ ]?)?{_QUOTE}(?P<letter>[A-Za-z])(?!(?![\u3040-\u9fff\uac00-\ud7af])[\w+#^]|['’]\w|-\w|\.\w)"
    rf"{_QUOTE}(?P<close>[ ]?[)\]}}>])?{_QUOTE}"
)
_NOUN = r"(?:options?|one|choices?|letter|answer|statement|alternative|opci[oó]n|opzione)"
_SUBJECT = (
    rf"(?:(?:the |la |le |el |die )?(?:(?:correct|right|best|final|most likely|only) )?{_NOUN}"
    r"(?: number)?\s?(?:is\b|(?:would|must|should|will|has to) be\b|:|=)?\s?"
    # These name other things, too, unless a letter is said to be one: `Solution B freezes first`.
    r"|correct\s?[:=]\s?|(?:(?:the|my|final|best) ){0,2}(?:ans\.?|solution|response|selection|pick|guess)\s?"
    r"(?:is\b|:|=)\s?|(?:la|le|die) )"
)
_ADVERB = (
    r"(?:(?:therefore|thus|then|so|clearly|simply|just|definitely|probably|most likely|likely"
    r"|obviously|indeed|actually|again|i think|i believe|i guess|i would say|i'd say|it is|it's"
    r"|maybe|perhaps|that|to be|be|now)\b,?\s?:?\s?)"
)
_AT_START = re.compile(rf"\s{{0,4}}(?:{_ADVERB}|{_SUBJECT}){{0,4}}{_LETTER}", re.IGNORECASE)
_WHOLE = re.compile(rf"{_LETTER}[.:!?,;]?", re.IGNORECASE)
_CHOSEN = re.compile(
    r"(?:\b(?:it's|it is|it has to be|must be|i'd (?:choose|pick|select|say|go with|go for)|i'll"
    r" (?:choose|pick|select|say|go with|go for)|choose|select|pick|say|go with|go for|going with"
    r"|actually|more likely|which is|matches|corresponds to|leaves us with|leaves|leaving|left with|only|yes|therefore"
    r"|thus|so|hence)"
    rf"\b,?:?\s{_SUBJECT}?|\b{_SUBJECT}|(?<!不)(?<!不[能应会该])选择?\s?[：:]?\s?){_LETTER}",
    re.IGNORECASE,
)
_PREFERRED = re.compile(
    r"\b(?:(?:more|most) (?:likely|probably)|(?:if i had to|i would|i'd|i'll|i will) (?:choose|pick|guess|say"
    rf"|go with|go for)),?\s(?:it's |it is )?{_SUBJECT}?{_LETTER}",
    re.IGNORECASE,
)
_JUDGED = re.compile(
    rf"(?<![\w'-]){_LETTER}"
    r"(?:(?::\s?(?=yes|correct|true|right)|\s(?:is|must be|has to be|would be|seems|looks)\s)"
    r"(?:clearly |definitely |probably |therefore |thus |obviously |the |my )*"
    r"(?:yes|correct|right|best|true|answer|one\b|only|most|better|good|valid|choice)"
    r"|\s?[是为]?正确|\s(?:it is\b|is[.!]?\s*\Z|(?:best|correctly|accurately) [a-z]{2,12}s\b))",
    re.IGNORECASE,
)
_MARKED = re.compile(
    r"(?<![\w)\]}])(?:\((?P<round>[A-Za-z])\)|\[(?P<square>[A-Z])\](?!\()|<(?P<angle>[A-Z])>"
    r"|\*\*\(?(?P<bold>[A-Z])[).:]?\*\*|\*\*\(?(?P<begun>[A-Z])[).:] [^*\n]{1,200}\*\*)(?![\w(])"
)
_DELIMITER = re.compile(
    r"\s?[.:,;)\]–—]|\s-\s|\s?$|\s?\n|\s(?:because|since|as|is|due)\b|\s(?=[\d$(])", re.IGNORECASE
)
# The option's text right behind its letter, and nothing else: `D Mitochondria`.
_NAMED_OPTION = re.compile(r"\s[A-Z][a-z]+(?:\s[^\W\d_]+){0,3}[.!]?$")
_COPULA = re.compile(r"\s(?:is|was|as)\b")
_DENIED_BEFORE = re.compile(
    r"(?:\bnot|n't(?: be| think| believe)?(?: that)?|\bcannot be|\bnever|\bneither|\bnor|\bnone of|\bexcept|\brules? out"
    r"|\beliminated?|\bexcluded?|\bunlike|\brather than|\binstead of|\bthan)"
    r"\s(?:(?:the|an?|be|it's|it is|option|choice|answer|letter)\s)*[*\"$`(\[{<]{0,3}$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r",?\s?(?:which |that |and |also )?(?:(?:is|are|was|seems|would be|must be)\s"
    r"(?:\w{1,12}\s){0,2}?(?:not|wrong|incorrect|false|impossible|too)\b|isn't|can't|cannot"
    r"|doesn't|does not|won't)",
    re.IGNORECASE,
)
_OTHER = re.compile(
    r"(?:\s?(?:/|&|\+|,(?:\s(?:and|or))?)\s?|\s(?:and|or|and/or|nor|oder|und|ou|et|y|o)\s)"
    r"(?:(?:option|choice|answer|maybe|possibly|perhaps|also|both|the|letter) )*"
    rf"{_QUOTE}[(\[{{<]?(?-i:[A-Z])(?:[)\]}}>]|(?![)\]}}>])){_QUOTE}(?![\w'])"
    r"(?!\s(?:is|are|was|has|have|would|can|am|think|know)\b)",
    re.IGNORECASE,
)
_SIDE_BY_SIDE = re.compile(r"(?:\b[A-Z][)\]]?(?:, (?:and |or )?|/| (?:and|or|&) )[*(\[]{0,3})$")
_SEVERAL = re.compile(r"\b(?:both|either|neither|between|all of|none of)\b[^.\n]{0,40}$", re.I)
_CONCLUDES = re.compile(r"\b(?:so|therefore|thus|hence|but|answer)\b", re.IGNORECASE)
# What stands before a letter that is the only item of a list or a quotation.
_ITEM = re.compile(r"\A\s*(?:(?:>|[-*•]|\d{1,2}[.)])\s+|(?:[-=]{1,2}>|[→⇒➜∴])\s*)(?=\S)")
_NAMES_OPTION = re.compile(r"\b(?:option|choice|letter)(?: is)?:?\s\W{0,3}$", re.IGNORECASE)
_VERDICT = re.compile(
    r"\b(?:not|wrong|right|true|false|correct|incorrect|impossible|because|since|yes|no)\b|n't\b",
    re.I,
)
# `A:` that stands for the answer.
_ANSWER_LABEL = re.compile(r"(?:\A|\n)A: {0,3}(\W{0,3}[A-J]\W{0,3})\Z")
_OPTION_LINE = re.compile(r"[ \t>*-]{0,8}\(?([A-J])(?:\)|[.:](?=\s)|\s*$)")
# After `A` or `I`, these show that the letter is meant and not the word.
_LETTER_ENDS = re.compile(
    r"\s*$|\s?[.,:;!)\n–—/]|\s-\s|\s(?:because|since|as|is|was|due|and|or|but|given|instead)\b",
    re.IGNORECASE,
)
_NAME_BEFORE = re.compile(
    r"\b(?:vitamins?|plan|hepatitis|type|class|grade|group|team|points?|section|appendix|set|side"
    r"|angle|figure|part|case|model|matrix|event|person|line|node|box|city|town|train|car)\s$",
    re.IGNORECASE,
)
_MOST = 200
# What a text chooses, it says in this many last characters.
_CLOSE_TO_END = 100_000
_SHORTEST = 20
_FEWEST_OPTIONS = 3
_BEFORE = 60


class _Choice(NamedTuple):
    """A letter that a text chooses; None if it names several at once."""

    letter: str | None


def find_choice(text: str) -> str | None:
    """Returns the chosen option's letter in upper case, else None.

    Where a text marks its answer, that counts; else the last letter that it says to be the answer
    or to be chosen; else the letter that it begins with; else the only letter in brackets.
    """
    text = clean(text).strip()
    line, enclosed = first_hash_line(text), last_enclosed(text)
    form = enclosed if enclosed and (line is None or enclosed.end > line.end) else line
    if form and (chosen := _short(form.text)):
        return chosen.letter
    if chosen := _said(text):
        return chosen.letter or _preferred(text)
    return None if form else _unsaid(text)


def _preferred(text: str) -> str | None:
    """Returns the letter that is preferred among several: `B or C, but more likely C`."""
    found = list(_PREFERRED.finditer(plain(text[-_CLOSE_TO_END:])))
    chosen = _judge(found[-1].string, found[-1]) if found else None
    return chosen.letter if chosen else None


def _unsaid(text: str) -> str | None:
    text = _without_options(text)
    if labelled := _ANSWER_LABEL.search(text):
        text = labelled[1]
    words = _ITEM.sub("", plain(text)) if "\n" not in text else plain(text)
    words = words.strip()
    for rule in (_whole, _claimed, _begun):
        if chosen := rule(words):
            return chosen.letter
    chosen = _bracketed(text)
    return chosen.letter if chosen else None


def _without_options(text: str) -> str:
    """Returns a text without the list of all options that it begins with, from A on.

    A line that judges its option is no part of such a list.
    """
    lines = text.split("\n")
    listed, end = 0, 0
    for number, line in enumerate(lines):
        found = _OPTION_LINE.match(line)
        if found is None:
            if line.strip():
                break
            continue
        if found[1] != "ABCDEFGHIJ"[listed : listed + 1] or _is_verdict(line[found.end() :]):
            break
        listed, end = listed + 1, number + 1
    return "\n".join(lines[end:]) if listed >= _FEWEST_OPTIONS else text


def _is_verdict(text: str) -> bool:
    return _VERDICT.search(text) is not None


def _short(text: str) -> _Choice | None:
    """Returns the letter of a text in an explicit form."""
    inside = plain(unwrap(text)).strip(_MARKS)
    return _whole(inside) or _said(inside) or _begun(inside) or _claimed(inside)


def _whole(text: str) -> _Choice | None:
    found = _WHOLE.fullmatch(text) if len(text) <= _SHORTEST else None
    return _Choice(found["letter"].upper()) if found and _is_closed(found) else None


def _said(text: str) -> _Choice | None:
    """Returns the letter after the last `answer is` that has one."""
    for _, clause, is_denied in clauses(text):
        if is_denied:
            continue
        words = plain(unwrap(clause)) if "boxed" in clause else plain(clause)
        found = _AT_START.match(words)
        if found and (chosen := _judge(words, found, small=True)):
            return _corrected(words[found.end() :]) or chosen
    return None


def _corrected(after: str) -> _Choice | None:
    """Returns the letter that takes the place of the one before: `A. No, B.`"""
    for cue in CORRECTED.finditer(after):
        found = _AT_START.match(after, cue.end())
        if found and _DELIMITER.match(after, found.end()) and (chosen := _judge(after, found)):
            return chosen
    return None


def _claimed(text: str) -> _Choice | None:
    """Returns the last letter that a sentence chooses: `I'd pick B`, `B is correct`."""
    text = text[-_CLOSE_TO_END:]
    found = sorted(
        [*_CHOSEN.finditer(text), *_JUDGED.finditer(text)], key=lambda one: one.start("letter")
    )
    for one in reversed(found[-_MOST:]):
        small = _NAMES_OPTION.search(text[one.start() : one.start("letter")]) is not None
        if chosen := _judge(text, one, small=small):
            return chosen
    return None


def _begun(text: str) -> _Choice | None:
    """Returns the letter that the text, or its last line, begins with."""
    lines = [text] if "\n" not in text else [text, text.rpartition("\n")[2].lstrip(" *_>")]
    for line in lines:
        found = _AT_START.match(line)
        if found and _NAMED_OPTION.match(line, found.end()) and len(lines) == 1:
            return _judge(line, found)
        if found is None or not (found["close"] or _DELIMITER.match(line, found.end())):
            continue
        if found["letter"] in "AI" and _COPULA.match(line, found.end()):
            continue
        if chosen := _judge(line, found):
            return chosen
    return None


def _bracketed(text: str) -> _Choice | None:
    """Returns the one letter in brackets or in bold, of the last line or else of the text."""
    for part in dict.fromkeys([text.rstrip().rpartition("\n")[2], text]):
        letters = {
            found[found.lastgroup].upper()
            for found in _MARKED.finditer(part)
            if found.lastgroup and not _is_denied(part, found.start(), found.end())
        }
        if len(letters) == 1:
            return _Choice(letters.pop())
    return None


def _judge(text: str, found: re.Match[str], *, small: bool = False) -> _Choice | None:
    """Returns the letter that was found unless it is a word, a name or denied.

    Args:
        small: Whether a small letter that ends its clause counts without marks.
    """
    letter, end = found["letter"], found.end("letter")
    after = re.compile(rf"{_QUOTE}[)\]}}>]?{_QUOTE}").match(text, end)
    end = after.end() if after else end
    if not _is_closed(found):
        return None
    before = text[max(0, found.start("letter") - _BEFORE) : found.start("letter")]
    if not found["close"]:
        if letter.islower() and not (small and re.match(r"\s*(?:[.!]\s*)?(?:$|\n)", text[end:])):
            return None
        if letter in "AI" and not _LETTER_ENDS.match(text, end):
            return None
        if _NAME_BEFORE.search(before):
            return None
    if _OTHER.match(text, end) or _SIDE_BY_SIDE.search(before) or _is_among_several(before):
        return _Choice(None)
    return None if _is_denied(text, found.start("letter"), end) else _Choice(letter.upper())


def _is_among_several(before: str) -> bool:
    several = _SEVERAL.search(before)
    return several is not None and _CONCLUDES.search(before, several.start()) is None


def _is_closed(found: re.Match[str]) -> bool:
    """Returns whether an opening bracket is closed; `b)` needs no opening one."""
    return not found["open"] or bool(found["close"])


def _is_denied(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - _BEFORE) : start]
    return bool(_DENIED_BEFORE.search(before) or _DENIED_AFTER.match(text, end))
