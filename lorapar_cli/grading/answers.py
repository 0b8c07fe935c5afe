"""Extracts final answers from text, normalizes them and compares them.

Reference answers, rewards and evaluation all use this one extractor. It has two rules:

- strict, lm-evaluation-harness's rule for GSM8K: the first `#### ` followed by a number;
- flexible, the first of these that is found: a `#### x` line, `<answer>x</answer>`,
  `\\boxed{x}`, the last number, a text that is one word.
"""

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_HASHES = re.compile(r"^[ \t]*####[ \t]*(\S.*)$", re.MULTILINE)
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_CLOSED = re.compile(r"</answer>", re.IGNORECASE)
_BRACE = re.compile(r"\\boxed\s*\{|[{}]")

_DIGITS = r"(?:\d{1,3}(?:,\d{2,3})*,\d{3}|\d{1,3}(?:[\u00a0\u2009\u202f]\d{3})+|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
_SIGN = r"[-\u2212\u2013+]"
_CURRENCY = r"(?:US\$|[$€£¥₹]|USD|EUR|GBP)"
_VULGAR = "\u00bc-\u00be\u2150-\u215e"
# A minus after a digit, letter or bracket is a subtraction, not a sign: "7-3" ends in 3.
_LAST_NUMBER = re.compile(
    rf"(?:(?<![\w)\].]){_SIGN})?{_CURRENCY}?(?<![\d.])"
    rf"(?:\d+ (?=\d+/\d+(?![\d./])))?{_DECIMAL}(?:\s?/\s?\d+(?!\d|\.\d)|\s?[{_VULGAR}])?"
)
# Sign and currency in either order, whole part of a mixed number, number or fraction, unit.
_QUANTITY = re.compile(
    rf"(?P<sign>{_SIGN}?)\s*(?:{_CURRENCY}\s*)?(?P<sign2>{_SIGN}?)\s*"
    rf"(?:(?P<whole>\d+)\s+(?=\d+\s*/))?(?P<number>{_DECIMAL})"
    rf"(?:\s*/\s*(?P<under>{_DECIMAL}))?\s*"
    # A power belongs to a unit only: `25 cm^2` is 25, `5^2` and `5²` are not 5.
    rf"(?![\^²³])(?P<unit>%|/?\s*(?:[$€£¥₹]|[^\W\d_]|[°'’.\-/ ()]|\^?\d\b(?<=[a-z^]\d)|[²³])*)",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))")
_ONE_CHARACTER_FRACTION = re.compile(rf"[{_VULGAR}]")
# LaTeX's thousands: 1{,}080 and 1\,080.
_LATEX_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|\\[,;: ]|~)(?=\d{3}(?!\d))")
_LATEX_POWER = re.compile(r"(?<=\d)\s*(?:\\times|\\cdot|×)\s*10\s*\^\s*(?:\{(-?\d+)\}|(\d))")
_MAGNITUDE = re.compile(r"\s*(thousand|million|billion|trillion)\b", re.IGNORECASE)
_MAGNITUDES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox)\s*\{([^{}]*)\}")
_LEAD_IN = re.compile(r"^.*?\banswer\s*(?:is|:|=)\s*(?=\S)", re.IGNORECASE | re.DOTALL)
_ASSIGNED = re.compile(r"^.*(?<![<>!=])=\s*(?=\S)", re.DOTALL)
_CHOICE = re.compile(r"\(?([A-Za-z])\)?(?:[.:)]|\s|$)")
_CHOICE_SAID = re.compile(r"\banswer\s*(?:is|:)\s*\(?([A-Z])\b", re.IGNORECASE)
_BLANKS = re.compile(r"\s{2,}")
_MARKUP = "*_`\"'“”‘’ \t\r\n"
_HARNESS_IGNORES = (re.compile(r","), re.compile(r"\$"), re.compile(r"(?s).*#### "))


class Explicit(NamedTuple):
    """A final answer in an explicit form.

    Attributes:
        text: The answer, without the form around it.
        start, end: Where the form begins and ends in the text.
    """

    text: str
    start: int
    end: int


def _by_form(text: str) -> tuple[list[Explicit], list[Explicit], list[Explicit]]:
    hashes = [Explicit(m[1].strip(), m.start(), m.end()) for m in _HASHES.finditer(text)]
    # After the last closing tag, each opening tag would search the rest of the text in vain.
    end = max((m.end() for m in _CLOSED.finditer(text)), default=0)
    tagged = [Explicit(m[1].strip(), m.start(), m.end()) for m in _TAGGED.finditer(text, 0, end)]
    return (
        hashes,
        [answer for answer in tagged if answer.text],
        [answer for answer in _boxed(text) if answer.text],
    )


def explicit_answers(text: str) -> list[Explicit]:
    """Returns every final answer in an explicit form: `####` lines, then tags, then boxes.

    A box counts only if its braces balance; empty answers are left out.
    """
    hashes, tagged, boxed = _by_form(text)
    return [*hashes, *tagged, *boxed]


def _boxed(text: str) -> list[Explicit]:
    """Returns the boxes whose braces balance, in the order they open."""
    if "\\boxed" not in text:
        return []
    found, opened = [], []
    for brace in _BRACE.finditer(text):
        if brace[0] != "}":
            opened.append(brace)
        elif opened and (opening := opened.pop())[0] != "{":
            inside = text[opening.end() : brace.start()].strip()
            found.append(Explicit(inside, opening.start(), brace.end()))
    return sorted(found, key=lambda answer: answer.start)


def extract_explicit(text: str) -> str | None:
    """Returns the final answer that the text marks as such, else None.

    Of several `####` lines the first counts, as in the strict rule, because a model that does not
    stop invents further problems; of several tags or boxes the last.
    """
    hashes, tagged, boxed = _by_form(text)
    if hashes:
        return hashes[0].text
    last = tagged[-1:] or boxed[-1:]
    return last[0].text if last else None


def extract_answer(text: str) -> str | None:
    """Returns the final answer by the flexible rule, as written in the text, else None."""
    explicit = extract_explicit(text)
    if explicit is not None:
        return explicit
    numbers = _LAST_NUMBER.findall(text)
    if numbers:
        return numbers[-1].strip()
    word = text.strip(_MARKUP + ".")
    return word if word and not re.search(r"\s", word) else None


def extract_strict(text: str) -> str | None:
    """Returns the first number after `#### `, including commas and periods, else None.

    Source: lm-evaluation-harness, task gsm8k, filter strict-match.
    """
    found = _STRICT.search(text)
    return found[1].strip() if found else None


def strict_match(found: str | None, reference: str) -> bool:
    """Returns whether a strict answer equals the reference by the harness's exact match.

    Args:
        found: What `extract_strict` returned.
        reference: A final answer, or a whole GSM8K answer with its `#### ` line.
    """
    return found is not None and _harness_form(found) == _harness_form(reference)


def _harness_form(text: str) -> str:
    for ignored in _HARNESS_IGNORES:
        text = ignored.sub("", text)
    return re.sub(r"\.$", "", text).lower()


def extract_choice(text: str) -> str | None:
    """Returns the chosen option's letter in upper case, else None.

    It is the letter that an explicit answer starts with, else the one after the last "answer is"
    or "answer:", else the one that the text starts with: `B`, `(B)`, `B.`.
    """
    explicit = extract_explicit(text)
    if explicit is not None:
        found = _CHOICE.match(explicit.strip(_MARKUP))
        return found[1].upper() if found else None
    said = _CHOICE_SAID.findall(text)
    if said:
        return said[-1].upper()
    found = re.match(r"\(?([A-Z])(?:\)|[.:]|\s*$)", text.strip().strip(_MARKUP))
    return found[1] if found else None


def parse_number(text: str) -> Fraction | None:
    """Returns the exact value of a text that is one quantity, else None.

    Thousands separators, currency, percent signs and units are dropped; decimals, fractions
    (`3/4`, `\\frac{3}{4}`, `¾`), mixed numbers (`1 1/2`), powers of ten (`1e3`,
    `2 \\times 10^3`) and `2 million` are read.
    """
    found = _QUANTITY.fullmatch(_plain(text))
    if found is None or (found["sign"] and found["sign2"]):
        return None
    number, under = _value(found["number"]), _value(found["under"] or "1")
    whole = _value(found["whole"] or "0")
    if not under or number is None or whole is None:
        return None
    value = whole + number / under
    if magnitude := _MAGNITUDE.match(found["unit"]):
        value *= _MAGNITUDES[magnitude[1].lower()]
    return -value if (found["sign"] or found["sign2"]) not in ("", "+") else value


def _value(digits: str) -> Fraction | None:
    mantissa, _, exponent = re.sub(r"[,\s]", "", digits).lower().partition("e")
    # Unbounded numbers would let one answer exhaust the memory.
    if len(mantissa) > 300 or len(exponent) > 4 or abs(int(exponent or 0)) > 300:
        return None
    return Fraction(mantissa) * Fraction(10) ** int(exponent or 0)


def _plain(text: str) -> str:
    """Returns the text without LaTeX, markup, lead-in words and a trailing period."""
    text = _LATEX_THOUSANDS.sub(",", _BLANKS.sub(" ", text))
    text = _LATEX_POWER.sub(r"e\1\2", text)
    text = _TEXT_COMMAND.sub(r" \1", _FRACTION.sub(r" (\1\2)/(\3\4)", text))
    text = re.sub(r"\((-?[\d.,]+)\)/\((-?[\d.,]+)\)", r"\1/\2", text)
    text = _ONE_CHARACTER_FRACTION.sub(_spell_fraction, text).replace("~", " ")
    text = re.sub(r"\\[()\[\],;!: ]|\\(?:left|right)|\^\{?\\circ\}?", " ", text)
    text = text.replace("\\$", "$").replace("\\%", "%").strip(_MARKUP)
    text = _ASSIGNED.sub("", _LEAD_IN.sub("", text)).strip(_MARKUP)
    if len(text) > 2 and text[0] + text[-1] in ("$$", "()"):
        text = text[1:-1]
    # In runs of blanks, the pattern for quantities would backtrack over every way to divide them.
    return _BLANKS.sub(" ", text.rstrip(". \t\n").strip(_MARKUP))


def _spell_fraction(found: re.Match) -> str:
    """Returns a fraction character spelled out: ` 1/2` for `½`."""
    return " " + unicodedata.normalize("NFKC", found[0]).replace("\u2044", "/")


def normalize_answer(text: str) -> str:
    """Returns the form that equal answers share.

    A quantity becomes its exact value, `1080` or `3/4`; other texts lose markup, case and spacing.
    """
    number = parse_number(text)
    if number is not None:
        return str(number)
    return re.sub(r"\s+", " ", _plain(text)).casefold()


def answers_match(found: str | None, reference: str | None) -> bool:
    """Returns whether two final answers are equal; None equals nothing."""
    if found is None or reference is None:
        return False
    return normalize_answer(found) == normalize_answer(reference)
