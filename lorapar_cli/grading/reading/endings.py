"""Finds the answer of a text that neither marks it nor says which it is: what the text ends in."""

import re

from lorapar_cli.grading.reading.opening import (
    MARKS,
    begins_with_quantity,
    first_formula,
    goes_on,
    is_several,
    open_answer,
    quantity_of,
    readable,
    unwrap,
    without_lead,
)
from lorapar_cli.grading.reading.plain import plain
from lorapar_cli.grading.reading.quantity import read_quantity
from lorapar_cli.grading.reading.scan import last_quantity
from lorapar_cli.grading.reading.structures import read_time

_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_VERDICT = re.compile(
    r"\W{0,4}(yes|no|true|false)\b(?=\W{0,3}$|[,.:;!*]|\s(?:because|since|as|it|they|he|she)\b)",
    re.IGNORECASE,
)
_EQUALS = re.compile(r"(?<![<>!=≤≥])=(?![=<>])[ ]?")
_GOES_ON = re.compile(r"[ ]?[-+*×·/÷^=(]")
_TURN = re.compile(
    r"\b(?:so|then|thus|therefore|hence|leaving|which|but|and|plus|minus|makes|gives)\b",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_NAMED = re.compile(
    r"(?:\b(?:is|was|are|were|(?:will|would|must|should) be|falls on|lands on)|'s)(?: called| named)?"
    r" (?:the |an? )?(true|false|(?:[A-Z][\w'-]*)(?: [\w'-]+){0,3})[.!]?$"
)
_LOWER_WORD = re.compile(r"(?<![\w\\])(?:[a-z]|[^\W\d_\x00-\x7f]){3,}")
# A sentence of a script without spaces says the number: `一共有18个`, `総額は18ドル`.
_UNSPACED = re.compile(r"[はがもで有是共为為剩下得要了到มี][ ]?(?=\d)")
_IN_BRACKETS = re.compile(r" \((?![=~≈])[^()=\n]{1,200}\)[.!]?\s{0,8}\Z")
_CAME_ABOUT = re.compile(
    r"\d[^.\n]{0,40}\b(?:left|left over|remaining|in total|altogether|in all)\b"
    r"(?P<rest>\s(?:after|because|since|when|once|if)\b[^.\n=]{0,200}[.!]?\s{0,8})\Z"
)
_SHORT = 120
_LONGEST_LINE = 2000


def ending(text: str) -> str | None:
    """Returns what a text ends in: a short answer alone, a number in bold, a result, a number."""
    text = text.strip()
    if not text:
        return None
    if verdict := _VERDICT.match(text):
        return verdict[1]
    last_line = text.rpartition("\n")[2][-_LONGEST_LINE:]
    if formula := last_formula(last_line):
        return formula
    if len(text) <= _SHORT and "\n" not in text and (short := _short_answer(text)):
        return short
    for bold in reversed(_BOLD.findall(last_line)):
        if begins_with_quantity(bold):
            return open_answer(bold)
    words = _without_remark(plain(text))
    if result := _result(words.rstrip().rpartition("\n")[2][-_LONGEST_LINE:]):
        return result
    if re.search(r"\d", words) and (number := last_quantity(words)):
        return number
    return _in_words(text)


def _without_remark(words: str) -> str:
    """Returns plain text without what its last sentence adds to the number that it states.

    That is a remark in brackets, `12 apples (3 a day)`, or how a remainder or a sum came about,
    `$20 left after buying 3 books`.
    """
    if found := _IN_BRACKETS.search(words):
        line = words[words.rfind("\n", 0, found.start()) + 1 : found.start()]
        # What it says once more, in another unit, is part of the number.
        if _DIGIT.search(line) and not (last_quantity(words) or "").endswith(")"):
            return words[: found.start()]
    if (found := _CAME_ABOUT.search(words)) and _TURN.search(found["rest"]) is None:
        return words[: found.start("rest")]
    return words


def last_formula(line: str) -> str | None:
    """Returns the LaTeX formula that a line ends in, unless a quantity can be read from it."""
    begin = max(line.rfind(mark, 0, len(line.rstrip(" .$)]\\"))) for mark in ("$", "\\(", "\\["))
    return first_formula(line[begin:]) if begin >= 0 else None


def _short_answer(text: str) -> str | None:
    """Returns a text that is nothing but an answer."""
    inside = unwrap(text)
    whole = readable(inside)
    core = without_lead(whole)
    opened = quantity_of(core)
    if opened and (opened.kind == "bare" or core == whole) and not goes_on(core, opened):
        return open_answer(text)
    bare = core.rstrip(" .!")
    if read_time(bare) or (is_several(bare) and any(c.isdigit() for c in bare)):
        return open_answer(text)
    if _UNSPACED.search(core):
        return None
    if _LOWER_WORD.search(core) is None and re.search(r"\d", core) and not _BOLD.search(text):
        # An expression, a date, a name with digits.
        return core.rstrip(" .!")
    if not re.search(r"\s", inside.strip()):
        return inside.strip(MARKS + ".!") or None
    return None


def _result(line: str) -> str | None:
    """Returns the quantity after the last `=` of a line unless the text goes on to calculate."""
    equals = list(_EQUALS.finditer(line))
    if not equals:
        return None
    begin = equals[-1].end()
    quantity = read_quantity(line, begin)
    if quantity is None or _GOES_ON.match(line, quantity.end):
        return None
    if line[quantity.end :].strip(" .") and _has_new_thought(line[begin:]):
        return None
    return line[begin : quantity.end].strip()


def _has_new_thought(text: str) -> bool:
    """Returns whether a number is followed by a sentence, or a turn of it, with another number."""
    for line in text.split("\n"):
        turn, last = _TURN.search(line), _last_digit(line)
        if turn and last > turn.end() - 1:
            return True
    last, begin = _last_digit(text), 0
    for stop in re.finditer(r"\.", text):
        ended = _DIGIT.search(text, begin, stop.start()) is not None
        begin = stop.end()
        if ended and text[begin : begin + 1].isspace() and last > begin:
            return True
    return False


def _last_digit(text: str) -> int:
    """Returns the place of the last digit, -1 where there is none."""
    return max((found.start() for found in _DIGIT.finditer(text)), default=-1)


def _in_words(text: str) -> str | None:
    """Returns a number in words, or the name that the last sentence ends in, else None."""
    sentence = re.split(r"[.!?]\s|\n", text.strip(MARKS + ".!\n"))[-1].strip(MARKS)
    digits = readable(sentence)
    if re.search(r"\d", digits) and (number := last_quantity(digits)) and number not in ("0", "1"):
        return number
    named = _NAMED.search(sentence)
    if named:
        return named[1]
    inside = unwrap(text)
    if inside != text.strip(MARKS[-4:]) and _BOLD.fullmatch(text) and len(inside.split()) <= 6:
        return inside.rstrip(".")
    return None
