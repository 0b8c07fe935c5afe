"""Reads one quantity: sign, currency, number, magnitude and unit, as an exact value."""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from lorapar_cli.grading.reading.units import Unit, find_unit

# Unbounded numbers would let one answer exhaust the memory.
_MOST_DIGITS = 300
_LARGEST_EXPONENT = 300
# If none of so many last numbers of a text is an answer, none is.
_MOST_NUMBERS = 1000

_HEAD = re.compile(
    r"(?P<sign>[-+][ ]?)?(?:(?P<currency>US\$|[$€£¥₹]|USD|EUR|GBP|Rs\.?)[ ]?)?(?P<sign2>[-+][ ]?)?"
    # Groups of three digits may be separated by a space or an apostrophe, too.
    r"(?P<number>\d+(?:[.,]\d+|[ '](?=\d{3}(?!\d))\d{3})*|\.\d+)(?P<exponent>[eE][-+]?\d+(?!\w))?"
)
_START = re.compile(r"(?<![\w.,])\.?\d|(?<![\d.,][.,])(?<=[.,])\d")
# A hyphen and a space begin the item of a list.
_BEFORE = re.compile(
    r"(?:(?<![\w)\].}!%²³])[-+])?(?:(?:(?:US)?[$€£¥₹]|\b(?:USD|EUR|GBP|Rs\.?))[ ]?-?|(?<![\w)\].}!%²³])-)?$"
)
_OVER = re.compile(
    r"[ ]?/[ ]?(\d+(?:\.\d+)?)(?![\d/]|\.\d)|[ ](?:out[ ]of[ ](?:the )?|in[ ](?=\d{1,3}[.!]?\s*\Z))(\d+)(?!\d|\.\d)"
)
_MIXED = re.compile(r"[ ](?:and )?(\d{1,6})/(\d{1,6})(?![\d/]|\.\d)")
_ENGLISH = re.compile(r"[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?:\.\d+)?")
_SEPARATED = re.compile(r"\d{1,3}(?:[ ']\d{3})+(?:[.,]\d+)?")
_CONTINENTAL = re.compile(r"\d{1,3}(?:\.\d{3})+,\d+|[1-9]\d{0,2}(?:\.\d{3}){2,}")
_DECIMAL_COMMA = re.compile(r"\d+,(?:\d{1,2}|\d{4,})|0,\d+")
_PLAIN = re.compile(r"\d+(?:\.\d+)?|\.\d+")
_MAGNITUDE = re.compile(
    r"(k|K|M|B|bn|mn|mln|mil)(?![\w^])|[ ]?(hundred|thousand|million|billion|trillion|dozen|grand|lakh"
    r"|crore)s?\b",
    re.IGNORECASE,
)
_MAGNITUDES = {
    **{"k": 10**3, "M": 10**6, "B": 10**9, "bn": 10**9, "mn": 10**6, "mln": 10**6, "mil": 10**6},
    **{
        "hundred": 100,
        "grand": 1000,
        "thousand": 10**3,
        "million": 10**6,
        "billion": 10**9,
        "dozen": 12,
    },
    **{"trillion": 10**12, "lakh": 10**5, "crore": 10**7},
}
_ORDINAL = re.compile(r"(?:st|nd|rd|th)(?![\w'])", re.IGNORECASE)
_UNIT = re.compile(
    r"[ ]?(?P<kind>(?:sq|square|cu|cubic)\.?[ ])?"
    r"(?P<name>US\$|°[CF]?(?!\w)|[^\W\d_]+|[%€£¥₹$¢'\"Ω])"
    r"(?P<power>[ ]?(?:\^[ ]?\{?[ ]?[-+]?\d[ ]?\}?|[²³])|(?<=[a-z])[23](?!\w)|[ ](?:squared|cubed))?",
    re.IGNORECASE,
)
_PER = re.compile(r"[ ]?(?:/|[ ]per[ ]|·|\*)[ ]?|[ ]per[ ]")
_WORD = re.compile(r"[^\W\d_]{2,}")
_KINDS = {"sq": 2, "square": 2, "cu": 3, "cubic": 3}
_POWERS = {"²": 2, "³": 3, "squared": 2, "cubed": 3}
# Directly after a number or its unit, these make it a part of something else. A colon before a
# digit makes it a time or a ratio, a hyphen a range, a date or a name.
_PART_OF_MORE = re.compile(
    r"[A-Za-z0-9_\u00c0-\u03ff^²³√∞‼({\[\\]|[:.,'][A-Za-z0-9]|\.\\|-[\w$]|[ ]?/"
)


class Quantity(NamedTuple):
    """A number in a text, with its unit.

    Attributes:
        value: Its exact value, in its own unit.
        start, end: Where it begins and ends, sign and unit included.
        unit: Its unit if it is one that is converted; squared and cubed units have a dimension of
            their own.
        named: Whether it has a unit.
        fine: Of `1 hour 30 minutes`, the value in the smaller unit.
    """

    value: Fraction
    start: int
    end: int
    unit: Unit | None = None
    named: bool = False
    fine: Fraction | None = None


def read_quantity(text: str, at: int = 0) -> Quantity | None:
    """Returns the quantity that begins at a position of plain text, None if none does.

    `1 hour 30 minutes` and `4 dollars and 25 cents` are one quantity.
    """
    first = _read_one(text, at)
    if first is None or first.unit is None or not first.unit.dimension:
        return first
    total, base, smallest, end = first.value * first.unit.factor, first.unit, first.unit, first.end
    while (joint := _JOINT.match(text, end)) and (part := _read_one(text, joint.end())):
        unit = part.unit
        if unit is None or not _continues(unit, smallest) or part.value < 0:
            break
        total += part.value * unit.factor * (1 if first.value >= 0 else -1)
        smallest, end = unit, part.end
    if again := _restated(text, end, total, base):
        fine, end = again
    elif smallest is base:
        return first
    else:
        fine = total / smallest.factor
    return Quantity(total / base.factor, first.start, end, base, True, fine)


def _restated(text: str, end: int, total: Fraction, base: Unit) -> tuple[Fraction, int] | None:
    """Returns the value that says a quantity once more in another unit, and where that ends."""
    again = _RESTATED.match(text, end)
    part = _read_one(text, again.end()) if again else None
    if again is None or part is None or part.unit is None:
        return None
    if part.unit.dimension != base.dimension or part.value * part.unit.factor != total:
        return None
    if "(" not in again[0]:
        return part.value, part.end
    return (part.value, part.end + 1) if text[part.end : part.end + 1] == ")" else None


# `2.5 kg (2500 g)`, `2 hours, or 120 minutes`
_RESTATED = re.compile(
    r"(?:[ ]?\((?:=|(?:or|i\.e\.|that is),?)?|,?[ ](?:or|i\.e\.|that is),?)[ ]?(?=[\d$.])"
)
_JOINT = re.compile(r",?[ ]?(?:(?:and|&)[ ])?(?=[\d$.])")


def _continues(unit: Unit, larger: Unit) -> bool:
    return unit.dimension == larger.dimension and unit.factor < larger.factor


def find_quantities(text: str) -> Iterator[int]:
    """Yields where quantities may begin in plain text, the last one first.

    A minus after a digit, a letter or a bracket is a subtraction, not a sign.
    """
    starts = [found.end() - 1 for found in _START.finditer(text)][-_MOST_NUMBERS:]
    end = len(text)
    for digit in reversed(starts):
        if digit >= end:
            continue
        first = digit - 1 if text[digit - 1 : digit] == "." else digit
        before = _BEFORE.search(text, max(0, first - 8), first)
        end = first
        yield before.start() if before else first


def _read_one(text: str, at: int) -> Quantity | None:
    head = _HEAD.match(text, at)
    if head is None or (head["sign"] and head["sign2"]):
        return None
    value = _value(head["number"], head["exponent"])
    if value is None:
        return None
    end = head.end()
    mixed = _MIXED.match(text, end) if head["number"].isdigit() else None
    if mixed and 0 < int(mixed[1]) < int(mixed[2]):
        value, end = value + Fraction(int(mixed[1]), int(mixed[2])), mixed.end()
    elif over := _OVER.match(text, end):
        under = _value(over[1] or over[2], None)
        if not under:
            return None
        value, end = value / under, over.end()
    value, end = _magnify(text, end, value, head["currency"])
    if ordinal := _ORDINAL.match(text, end):
        end = ordinal.end()
    unit, named, end = _read_unit(text, end, head["currency"])
    if (more := _PART_OF_MORE.match(text, end)) and not _is_end(text, more):
        return None
    if (head["sign"] or head["sign2"] or "+")[0] == "-":
        value = -value
    return Quantity(value, at, end, unit, named)


def _is_end(text: str, more: re.Match[str]) -> bool:
    """Returns whether what follows a number is no part of it after all: `18.Next`, `5'6"`."""
    if text[more.start() - 1] == "'":
        return more[0].isdigit()
    return more[0][0] in ".," and more[0][1].isalpha()


def _value(number: str, exponent: str | None) -> Fraction | None:
    """Returns the value of digits with separators, None where they are no one number."""
    power = exponent[1:] if exponent else "0"
    if len(number) > _MOST_DIGITS or len(power) > 5 or abs(int(power)) > _LARGEST_EXPONENT:
        return None
    if _PLAIN.fullmatch(number):
        digits = number
    elif _ENGLISH.fullmatch(number):
        digits = number.replace(",", "")
    elif _SEPARATED.fullmatch(number):
        digits = re.sub(r"[ ']", "", number).replace(",", ".")
    elif _CONTINENTAL.fullmatch(number):
        digits = number.replace(".", "").replace(",", ".")
    elif _DECIMAL_COMMA.fullmatch(number):
        digits = number.replace(",", ".")
    else:
        return None
    return Fraction(digits) * Fraction(10) ** int(power)


def _magnify(text: str, end: int, value: Fraction, currency: str | None) -> tuple[Fraction, int]:
    found = _MAGNITUDE.match(text, end)
    if found is None:
        return value, end
    name = found[1] or found[2].lower()
    if currency and name == "m":
        name = "M"
    elif name in ("K", "b"):
        name = "k" if name == "K" else "B" if currency else "b"
    size = _MAGNITUDES.get(name)
    return (value, end) if size is None else (value * size, found.end())


def _read_unit(text: str, end: int, currency: str | None) -> tuple[Unit | None, bool, int]:
    """Returns the unit after a number, whether there is one, and where it ends."""
    unit = find_unit(currency.rstrip(".")) if currency else None
    found = _UNIT.match(text, end)
    after = find_unit(found["name"]) if found else None
    if found and after and not _is_other_word(text, found):
        unit, end = _raise(after, found), found.end()
    elif text[end : end + 1] == "/" and not text[end + 1 : end + 2].isdigit():
        after = None
    elif currency is None:
        return None, False, end
    while per := _PER.match(text, end):
        below = _UNIT.match(text, per.end())
        if below is None or (find_unit(below["name"]) is None and not _WORD.match(below["name"])):
            break
        # Of a speed or a price, nothing is converted.
        unit, end = None, below.end()
    return unit, True, end


def _is_other_word(text: str, found: re.Match[str]) -> bool:
    """Returns whether a unit's name is something else here: `18 '`, `5N`, `5 in total`."""
    if found["name"].lower() == "in" and not found["power"]:
        return re.match(r"\s?(?:[.,;)\]]|$)", text[found.end() : found.end() + 2]) is None
    has_space = found[0].startswith(" ")
    # Of single letters, these are variables where no space is before them.
    return has_space if found["name"] in ("'", '"') else found["name"] in "NJK" and not has_space


def _raise(unit: Unit, found: re.Match[str]) -> Unit:
    kind, power = (found["kind"] or "").strip(" .").lower(), (found["power"] or "").strip(" ^{}")
    exponent = _KINDS.get(kind, 1) if not power else _POWERS.get(power.lower(), 0) or int(power)
    if exponent == 1 or not unit.dimension:
        return unit
    return Unit(f"{unit.dimension}^{exponent}", unit.factor**exponent)
