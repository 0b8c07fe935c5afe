"""Finds final answers in a marked form: `#### 18`, `<answer>18</answer>`, `\\boxed{18}`."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from lorapar_cli.grading.reading.number_words import may_have_number
from lorapar_cli.grading.reading.opening import Kind, begins_with_quantity, open_answer

_HASHES = re.compile(r"(?<!#)####(?!#)[ \t]*([^\n]*)")
_ANSWER = re.compile(r"<answer>", re.IGNORECASE), re.compile(r"</answer>", re.IGNORECASE)
_OPENED = re.compile(r"<(?:(?:final_?)?answer|final)>", re.IGNORECASE)
_CLOSED = re.compile(r"</(?:(?:final_?)?answer|final)>", re.IGNORECASE)
_BRACE = re.compile(r"\\(?:boxed|fbox)\s{0,3}\{|[{}]")
_BARE_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,3}(-?\d+(?:\.\d+)?|[A-Za-z](?![A-Za-z]))")
# `#### 2. Find the price` is a heading; the number is that of the heading.
_NUMBERED = re.compile(r"(\d{1,2})[.):]\s+[A-Za-z]")
_RETRACTED = re.compile(
    r"\b(?:wait|wrong|mistake|incorrect|correction|actually|oops|sorry|recheck|error)\b", re.I
)
_NUMBER = re.compile(r"-?\d{1,300}(?:\.\d{1,300})?")
_BLANK = re.compile(r"\s*")
_MARKS = " \t*_`$.:"
_LONGEST_LINE = 1000
_LONGEST = 5000
_SHORT = 200
_LONGEST_BETWEEN = 2000
_MOST_BOXES = 20
_JOINED = re.compile(r"[\s$]*(?:(?:,\s*)?(?:or|and)\b|\\text\s?\{\s*(?:or|and)\s*\}|,)[\s$]*")


class Explicit(NamedTuple):
    """A final answer in an explicit form.

    Attributes:
        text: The answer, without the form around it.
        start, end: Where the form begins and ends in the text.
        math: Whether it is mathematics, as in a box.
        prose: Whether more than a number and its unit is said; for `####` lines.
        last: Whether nothing comes after it; for `####` lines.
    """

    text: str
    start: int
    end: int
    math: bool = False
    prose: bool = False
    last: bool = False


def hash_lines(text: str) -> Iterator[Explicit]:
    """Yields the `####` lines that are answers, in order.

    Those are the lines that begin with a quantity, and a last line of other text. The headings of
    Markdown, `#### Step 2: add`, are not.
    """
    headings = 0
    for hashes in _HASHES.finditer(text):
        said = hashes[1].strip()[:_LONGEST_LINE]
        if not said.strip(_MARKS):
            continue
        last = _BLANK.fullmatch(text, hashes.end()) is not None
        numbered = _NUMBERED.match(said)
        if numbered and not last and int(numbered[1]) == headings + 1:
            headings += 1
            continue
        kind = _kind_of(said)
        if kind is None and not (last and said[-1] != ":" and _begins_line(text, hashes.start())):
            continue
        yield Explicit(said, hashes.start(), hashes.end(), prose=kind != "bare", last=last)


def _kind_of(said: str) -> Kind | None:
    if _NUMBER.fullmatch(said):
        return "bare"
    return begins_with_quantity(said) if may_have_number(said) else None


def _begins_line(text: str, position: int) -> bool:
    return not text[max(0, position - _LONGEST_LINE) : position].rpartition("\n")[2].strip()


def tagged(text: str, *, exactly: bool = False) -> list[Explicit]:
    """Returns the answers in tags that are not empty; one may be cut off at the end.

    Args:
        exactly: Whether other names than `answer`, and a tag that only the prompt may have opened,
            do not count.
    """
    begins, ends = _ANSWER if exactly else (_OPENED, _CLOSED)
    spans, place = [], 0
    while (opened := begins.search(text, place)) and (closed := ends.search(text, opened.end())):
        spans.append((text[opened.end() : closed.start()], opened.start(), closed.end()))
        place = closed.end()
    if not spans and (opened := begins.search(text)):
        spans = [(text[opened.end() :], opened.start(), len(text))]
    elif not spans and not exactly and (closed := ends.search(text)):
        # The prompt has opened it.
        begin = 0 if closed.start() <= _SHORT else text.rfind("\n", 0, closed.start()) + 1
        spans = [(text[begin : closed.start()], begin, closed.end())]
    return [
        Explicit(inside.strip()[:_LONGEST], start, stop)
        for inside, start, stop in spans
        if inside.strip()
    ]


def boxed(text: str) -> list[Explicit]:
    """Returns the boxes whose braces balance and that are not empty, the outermost ones."""
    if "boxed" not in text and "fbox" not in text:
        return []
    spans = [(m.start(1), m.end(1), m.start(), m.end()) for m in _BARE_BOX.finditer(text)]
    opened: list[re.Match[str]] = []
    for brace in _BRACE.finditer(text):
        if brace[0] != "}":
            opened.append(brace)
        elif opened and (opening := opened.pop())[0] != "{":
            spans.append((opening.end(), brace.start(), opening.start(), brace.end()))
    found: list[Explicit] = []
    end = 0
    for first, last, start, stop in sorted(spans, key=lambda span: span[2]):
        if start < end or not text[first:last].strip():
            continue
        end = stop
        inside = text[first : min(last, first + _LONGEST)].strip()
        found.append(Explicit(inside, start, stop, math=True))
    return found


def _join(text: str, boxes: list[Explicit]) -> list[Explicit]:
    """Returns boxes of which those side by side, `\\boxed{8} or \\boxed{9}`, are one answer."""
    joined: list[Explicit] = []
    for box in boxes:
        if joined and (joint := _JOINED.fullmatch(text, joined[-1].end, box.start)):
            before = joined.pop()
            both = f"{before.text}{joint[0]}{box.text}"
            joined.append(Explicit(both, before.start, box.end, math=True))
        else:
            joined.append(box)
    return joined


def marked(text: str) -> list[Explicit]:
    """Returns every answer in a marked form in the order of the text, each form once.

    A form within another one, `#### \\boxed{18}`, is the outer one.
    """
    tags = tagged(text, exactly=True)
    every = sorted([*hash_lines(text), *tags, *boxed(text)], key=lambda form: form.start)
    found: list[Explicit] = []
    for form in every:
        if not found or form.start >= found[-1].end:
            found.append(form)
    return found


def first_hash_line(text: str) -> Explicit | None:
    """Returns the `####` line that counts: the first, because a model that does not stop invents
    further problems; a later one where the first is taken back."""
    first = chosen = None
    for line in hash_lines(text):
        first = first or line
        if line.prose:
            continue
        if chosen:
            between = text[chosen.end : min(line.start, chosen.end + _LONGEST_BETWEEN)]
            if not _RETRACTED.search(between):
                break
        chosen = line
    return chosen or first


def last_enclosed(text: str) -> Explicit | None:
    """Returns the last tag, else the last box; of several boxes the last that has a quantity."""
    tags = tagged(text)
    if tags:
        return tags[-1]
    boxes = _join(text, boxed(text)[-_MOST_BOXES:])
    for box in reversed(boxes):
        if begins_with_quantity(open_answer(box.text, math=True), math=True):
            return box
    return boxes[-1] if boxes else None
