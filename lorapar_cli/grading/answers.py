"""Extracts final answers from text, normalizes them and compares them.

Reference answers, rewards and evaluation all use this one reader. It has two rules:

- strict, lm-evaluation-harness's rule for GSM8K: the first `#### ` followed by a number;
- flexible, what a careful person takes for the answer, in the order that `extract_answer` states.
"""

import re
from fractions import Fraction

from lorapar_cli.grading.reading.choices import find_choice
from lorapar_cli.grading.reading.clean import clean, without_control_words, without_thoughts
from lorapar_cli.grading.reading.compare import read, same_answer, shared_form
from lorapar_cli.grading.reading.endings import ending
from lorapar_cli.grading.reading.forms import (
    Explicit,
    first_hash_line,
    last_enclosed,
    marked,
)
from lorapar_cli.grading.reading.markup import without_markup
from lorapar_cli.grading.reading.opening import open_answer
from lorapar_cli.grading.reading.statements import last_statement

_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_HARNESS_IGNORES = re.compile(r"[,$]")
_HARNESS_MARK = "#### "


def explicit_answers(text: str) -> list[Explicit]:
    """Returns every final answer in an explicit form, in the order of the text.

    A form within another one is part of it; a box counts only if its braces balance; thoughts,
    empty answers and the headings of Markdown are left out.
    """
    return marked(visible(text))


def visible(text: str) -> str:
    """Returns a completion without thoughts and without the words that mark its end."""
    return without_control_words(without_thoughts(text))


def extract_explicit(text: str) -> str | None:
    """Returns the final answer that the text marks as such, else None.

    The first `####` line counts, as in the strict rule; a line that goes on in prose only if no
    tag or box comes after it. Of several tags or boxes the last counts.
    """
    form = _explicit(without_markup(clean(text)))
    return open_answer(form.text, math=form.math) if form else None


def _explicit(text: str) -> Explicit | None:
    line, enclosed = first_hash_line(text), last_enclosed(text)
    if line is None:
        return enclosed
    if enclosed and line.prose and enclosed.end > line.end:
        return enclosed
    return line


def extract_answer(text: str) -> str | None:
    """Returns the final answer by the flexible rule, as written in the text, else None.

    Thoughts, control words and further questions are dropped. Then the first of these counts that
    is found: a `####` line with a number, the last of tags, boxes and `the answer is`, another
    `####` line, what the text ends in (`reading.endings`).
    """
    text = without_markup(clean(text))
    form = _explicit(text)
    if form and not form.prose and not form.math and text[form.start] == "#":
        return open_answer(form.text)
    said, denied = last_statement(text)
    if said and said.is_quantity and (form is None or said.start > form.end):
        return said.text
    if form:
        return open_answer(form.text, math=form.math) or None
    if said:
        return said.text
    return None if denied else ending(text)


def read_reference(text: str) -> str:
    """Returns the final answer of a reference: marked or said in a worked solution, or all of it."""
    text = without_markup(clean(text))
    form = _explicit(text)
    if form:
        return open_answer(form.text, math=form.math)
    said, _ = last_statement(text)
    return said.text if said else open_answer(text)


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
    """Returns what the harness compares: without commas, dollars, and all up to the last `#### `.

    Its pattern `(?s).*#### ` takes quadratic time on a text without the mark; this does not.
    """
    text = _HARNESS_IGNORES.sub("", text)
    return re.sub(r"\.$", "", text.rpartition(_HARNESS_MARK)[2]).lower()


def parse_number(text: str) -> Fraction | None:
    """Returns the exact value of a text that is one quantity, else None.

    Thousands separators, currency, percent signs, units and what is counted are dropped; decimals,
    fractions (`3/4`, `\\frac{3}{4}`, `¾`), mixed numbers (`1 1/2`), powers of ten (`1e3`,
    `2 \\times 10^3`), `2 million` and numbers in words are read.
    """
    return read(text).value


def normalize_answer(text: str) -> str:
    """Returns the form that equal answers share.

    A quantity becomes its exact value, `1080` or `3/4`; other texts lose markup, case and spacing.
    """
    return shared_form(text)


def answers_match(found: str | None, reference: str | None) -> bool:
    """Returns whether two final answers are equal; None equals nothing.

    Args:
        reference: A final answer, or a worked solution that marks or says it.
    """
    if found is None or reference is None:
        return False
    return same_answer(found, reference) or same_answer(found, read_reference(reference))


def extract_choice(text: str) -> str | None:
    """Returns the chosen option's letter in upper case, else None (`reading.choices`)."""
    return find_choice(text)


def choices_match(found: str | None, reference: str | None) -> bool:
    """Returns whether a letter that `extract_choice` returned is the reference's.

    Args:
        reference: A letter, an option with its text, or a worked solution that chooses one.
    """
    return found is not None and reference is not None and found == extract_choice(reference)
