"""Writes numbers that are spelled out in digits: `two and a half` as `2.5`."""

import re

_UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {
    **{word: number for number, word in enumerate(_UNITS)},
    **{word: 20 + 10 * number for number, word in enumerate(_TENS)},
}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4}
_PARTS |= {"fourth": 4, "fourths": 4, "fifth": 5, "fifths": 5, "sixths": 6, "eighths": 8}
_WORD = "|".join([*_SMALL, "hundred", *_LARGE])
_ANY = re.compile(rf"\d|\b(?:{_WORD}|half|dozen)\b", re.IGNORECASE)
_RUN = re.compile(rf"\b(?:{_WORD})\b(?:(?:[ -]| and )(?:{_WORD})\b){{0,20}}", re.IGNORECASE)
_MIXED = re.compile(r"\b(\d+) and (?:a|one|1)[ -](half|third|quarter|fifth)\b", re.IGNORECASE)
_SEVERAL_PARTS = re.compile(
    r"(?<![\d.,])(\d+)[ -](half|halves|thirds?|quarters|fourths?|fifths?|sixths|eighths)\b",
    re.IGNORECASE,
)
_ONE_PART = re.compile(r"^(?:a|one|1)[ -](third|quarter|fourth|fifth)\b(?! place)", re.IGNORECASE)
_SIGN = re.compile(r"\b(?:minus|negative) ?(?=[$€£]?\d)", re.IGNORECASE)
_A_DOZEN = re.compile(r"\ba (?=(?:dozen|hundred|thousand|million|billion)\b)", re.IGNORECASE)


def may_have_number(text: str) -> bool:
    """Returns whether a text has a digit or a number word."""
    return not text.isascii() or _ANY.search(text) is not None


def write_digits(text: str) -> str:
    """Returns a text with its spelled-out numbers, parts and signs in digits."""
    text = _A_DOZEN.sub("one ", text)
    text = _RUN.sub(lambda run: _number(run[0]), text)
    text = _MIXED.sub(lambda m: f"{m[1]} 1/{_PARTS[m[2].lower()]}", text)
    text = _SEVERAL_PARTS.sub(lambda m: f"{m[1]}/{_PARTS[m[2].lower()]}", text)
    text = _ONE_PART.sub(lambda m: f"1/{_PARTS[m[1].lower()]}", text)
    text = re.sub(r"^(?:a |one[ -])?half\b(?! an?\b)", "1/2", text, flags=re.IGNORECASE)
    return _SIGN.sub("-", text)


def _number(run: str) -> str:
    """Returns a run of number words in digits; the run as it is where it is no one number."""
    total = current = 0
    joined = False
    words = re.split(r"[ -]", run.lower())
    if words[0] in _LARGE or words[0] == "hundred":
        return run
    for position, word in enumerate(words):
        if word == "and":
            joined = True
            if (current == 0) == (total == 0) and current % 100:
                return run
            continue
        if word in _LARGE:
            if not current:
                return run
            total, current = total + current * _LARGE[word], 0
        elif word == "hundred":
            if not 0 < current < 100:
                return run
            current *= 100
        elif not _fits(_SMALL[word], current, first=position == 0) or (joined and current % 100):
            return run
        else:
            current += _SMALL[word]
        joined = False
    return str(total + current)


def _fits(number: int, current: int, *, first: bool) -> bool:
    """Returns whether a number below 100 may be said after what was said so far."""
    if number == 0:
        return first
    rest = current % 100
    return rest == 0 or (rest >= 20 and rest % 10 == 0 and number < 10)
