"""A record's reference answers: those that its row gives, or what its completion ends in."""

import re
from typing import Any

from lorapar_cli.data.rows import BadRow, as_text, kind_of
from lorapar_cli.grading.answers import extract_answer, extract_explicit, parse_number
from lorapar_cli.grading.reading.clean import without_thoughts

_LONGEST_BARE = 40
_MOST_PHRASE_WORDS = 5
# One pair of marks around the whole of an answer.
_WRAPPED = re.compile(r"(\*\*|__|[*_`\"'])(?!\1)(.+)\1|[“‘](.+)[”’]")
_FULL_STOP = re.compile(r"(?<=[\w*_`\"')\]])(?<!\.\w)\.$")
# How a text may end: `So the answer is 7.`
_STATED = re.compile(r"\banswer(?: is)?:? ([^\s.]\S*?)\.?$", re.IGNORECASE)
# `area = 12 * 2 = 24`: in a statement or a query, what follows the last `=` is no answer.
_EQUATION = re.compile(r"[^\W\d]\w*(?: \w+){0,2} ?=[^A-Za-z]*")
_SENTENCE_END = re.compile(r"[.!?:;]\W*$")
# Two ways to say one thing, both accepted; the first becomes the completion.
_YES, _NO = ["yes", "true"], ["no", "false"]
# Where objects hold accepted answers: SQuAD's, and TriviaQA's with other spellings behind.
_INSIDE = ("text", "value")


def final_answer(completion: str, *, numeric: bool = False, is_answer: bool = False) -> str | None:
    """Returns what a completion says is the answer, else None.

    The last number of prose or code is not an answer, and a reward for it would teach nonsense.
    There an answer counts that is marked, or a number that ends the text as its answer, or a
    completion that is nothing but a number or a word.

    Args:
        numeric: Whether the data set says that answers are numbers, so that the last one is meant.
        is_answer: Whether the completion is all of an answer, which may be a few words.
    """
    text = without_thoughts(completion).strip()
    explicit = extract_explicit(text)
    if explicit is not None:
        return explicit
    stated = _STATED.search(text[-_LONGEST_BARE:])
    if stated and parse_number(stated[1]) is not None:
        return stated[1]
    if numeric:
        return _without_stop(extract_answer(text))
    if len(text) >= _LONGEST_BARE or "\n" in text:
        return None
    if parse_number(text) is not None and ("=" not in text or _EQUATION.fullmatch(text)):
        return _without_stop(extract_answer(text))
    words = len(text.split())
    if words == 1 or (is_answer and words <= _MOST_PHRASE_WORDS and not _SENTENCE_END.search(text)):
        return _without_markup(text) or None
    return None


def _without_stop(answer: str | None) -> str | None:
    return answer.rstrip(".") if answer else None


def _without_markup(text: str) -> str:
    """Returns an answer without a full stop and the marks around it: `Red` of `**Red**.`"""
    text = _FULL_STOP.sub("", text)
    while found := _WRAPPED.fullmatch(text):
        text = _FULL_STOP.sub("", (found[2] or found[3]).strip())
    return text


def is_bare(value: Any) -> bool:
    """Returns whether a field holds nothing but a final answer, as opposed to a worked one."""
    if not isinstance(value, str):
        return True
    text = value.strip()
    return extract_explicit(text) is None and final_answer(text, is_answer=True) is not None


def given_answers(value: Any, field: str) -> list[str]:
    """Returns the accepted answers that a field gives, the first one first; empty for none.

    Raises:
        BadRow: The field holds something else.
    """
    if value is None:
        return []
    if isinstance(value, bool):
        return list(_YES if value else _NO)
    if isinstance(value, list):
        several = [answer for each in value for answer in given_answers(each, field)]
        return list(dict.fromkeys(several))
    if isinstance(value, dict):
        inside = next((key for key in _INSIDE if value.get(key) is not None), None)
        if inside is None:
            raise BadRow(f"field `{field}` is {kind_of(value)} without {' or '.join(_INSIDE)}")
        return given_answers([value[inside], value.get("aliases")], field)
    text = as_text(value, field).strip()
    answer = extract_explicit(text) or text
    return [answer] if answer else []
