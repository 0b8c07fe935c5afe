"""The options of a multiple-choice question: where a row holds them, and which one is right."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lorapar_cli.data.rows import BadRow, RowReader, kind_of, parse_json_field, parse_json_text
from lorapar_cli.plurals import counted

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CHOICE_FIELDS = ("choices", "options")
# Columns with one option each: MedMCQA's, and those of tables such as MMLU's.
_COLUMNS = (tuple(f"op{letter.lower()}" for letter in LETTERS), tuple(LETTERS))
_TEXT_KEYS = ("text", "value", "content")
_LABEL_KEYS = ("label", "key")
_LETTERED = re.compile(r"\(?([A-Za-z])\s?[).:]\s*(\S.*)?", re.DOTALL)


@dataclass(frozen=True)
class Choices:
    """The options of a question, shown as A, B, C, ...

    Attributes:
        texts: What each says.
        labels: How the source calls them, empty where it gives them in order only.
    """

    texts: list[str]
    labels: list[str]

    def lines(self) -> str:
        """Returns one lettered line for each option."""
        return "\n".join(f"{LETTERS[i]}. {text}" for i, text in enumerate(self.texts))

    def are_in(self, question: str) -> bool:
        """Returns whether a question lists the options already, each behind its letter."""
        return all(
            re.search(rf"\(?{LETTERS[i]}\s?[).:]\s*{re.escape(text)}", question)
            for i, text in enumerate(self.texts)
        )

    def letter(self, answer: Any, field: str, is_key: bool = False) -> str:
        """Returns the letter of an answer: a label or letter, an index from 0, or an option's text.

        Args:
            is_key: Whether the field is known to hold labels, so that no text is meant.

        Raises:
            BadRow: It is none of the options, or may stand for more than one of them.
        """
        if isinstance(answer, list) and len(answer) == 1:
            answer = answer[0]
        found = sorted(self._meant(answer, is_key))
        if len(found) == 1:
            return LETTERS[found[0]]
        if not found:
            raise BadRow(
                f"`{field}` is {answer!r}, not one of {counted(len(self.texts), 'choice')}"
            )
        letters = " or ".join(LETTERS[index] for index in found)
        raise BadRow(f"`{field}` is {answer!r}, which may mean choice {letters}")

    def find_letter(self, answer: str) -> str | None:
        """Returns the letter of a label, a letter or a text; None if it means no or two options."""
        found = self._named(answer) | self._with_text(answer)
        return LETTERS[found.pop()] if len(found) == 1 else None

    def _meant(self, answer: Any, is_key: bool) -> set[int]:
        """Returns the indices of every option that an answer may stand for."""
        if isinstance(answer, bool) or not isinstance(answer, str | int | float):
            return set()
        text = str(answer).strip()
        if self.labels:
            named = self._named(text)
            return named if named and is_key else named | self._with_text(text)
        if not isinstance(answer, str):
            return self._at(text)
        return self._named(text) | self._at(text) | self._with_text(text)

    def _named(self, text: str) -> set[int]:
        """Returns the option of a label or letter, which the option's own text may follow."""
        found = _LETTERED.fullmatch(text)
        name, rest = (found[1], found[2]) if found else (text, None)
        return {
            i
            for i, label in enumerate(self.labels or LETTERS[: len(self.texts)])
            if _same(label, name) and (rest is None or _same(rest, self.texts[i]))
        }

    def _at(self, text: str) -> set[int]:
        """Returns the option at an index from 0."""
        index = text.removesuffix(".0")
        inside = re.fullmatch("[0-9]{1,2}", index) and int(index) < len(self.texts)
        return {int(index)} if inside else set()

    def _with_text(self, text: str) -> set[int]:
        return {i for i, own in enumerate(self.texts) if _same(own, text)}


def _same(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


def has_choices(row: RowReader) -> bool:
    """Returns whether a row has a field with options."""
    question = parse_json_text(row.row.get("question"))
    return (
        (isinstance(question, dict) and _first(question, CHOICE_FIELDS) is not None)
        or any(_is_filled(row, field) for field in CHOICE_FIELDS)
        or any(_is_filled(row, first) and _is_filled(row, second) for first, second, *_ in _COLUMNS)
    )


def require_choices(row: RowReader) -> None:
    """Checks that a row has a field with options.

    Raises:
        BadRow: It has none, or it is null or empty; names it.
    """
    if has_choices(row):
        return
    known = (*CHOICE_FIELDS, *(name for columns in _COLUMNS for name in columns[:2]))
    field = next(
        (name for name in known if name in row.row and not _is_filled(row, name)), "choices"
    )
    row.require([field])
    raise BadRow(f"field `{field}` is empty")


def _is_filled(row: RowReader, field: str) -> bool:
    return row.has(field) and row.row[field] not in ("", [], {})


def take_choices(row: RowReader) -> Choices | None:
    """Returns a row's options, marked as used; None where it has none.

    Raises:
        BadRow: A field with options cannot be read.
    """
    question = parse_json_text(row.row.get("question"))
    if isinstance(question, dict) and (nested := _first(question, CHOICE_FIELDS)):
        return _read_choices(question[nested], nested)
    for field in CHOICE_FIELDS:
        if _is_filled(row, field):
            return _read_choices(row.take(field), field)
    for columns in _COLUMNS:
        if _is_filled(row, columns[0]) and _is_filled(row, columns[1]):
            filled = [i for i, column in enumerate(columns) if _is_filled(row, column)]
            texts = [row.take(column) for column in columns[: max(filled, default=0) + 1]]
            return _check(texts, [], columns[0])
    return None


def _first(value: dict[str, Any], keys: Sequence[str]) -> str | None:
    return next((key for key in keys if value.get(key) is not None), None)


def _read_choices(value: Any, field: str) -> Choices:
    value = parse_json_field(value)
    if isinstance(value, str):
        raise BadRow(f"`{field}` is text but not a JSON list")
    if isinstance(value, dict):
        text_key, label_key = _first(value, _TEXT_KEYS), _first(value, _LABEL_KEYS)
        if text_key and isinstance(value[text_key], list):
            return _check(value[text_key], value[label_key] if label_key else [], field)
        # One key an option; merged tables hold null for those that a question lacks.
        own = {key: text for key, text in value.items() if text is not None}
        return _check(list(own.values()), list(own), field)
    if not isinstance(value, list):
        raise BadRow(f"`{field}` is {kind_of(value)}, not a list of answers")
    if value and all(isinstance(each, dict) for each in value):
        return _read_objects(value, field)
    return _check(value, [], field)


def _read_objects(value: list[dict[str, Any]], field: str) -> Choices:
    texts, labels = [], []
    for each in value:
        text_key, label_key = _first(each, _TEXT_KEYS), _first(each, _LABEL_KEYS)
        if text_key is None:
            raise BadRow(f"`{field}` has an answer without a `text`")
        texts.append(each[text_key])
        labels += [each[label_key]] if label_key else []
    return _check(texts, labels, field)


def _check(texts: list[Any], labels: Any, field: str) -> Choices:
    if not 2 <= len(texts) <= len(LETTERS):
        raise BadRow(f"`{field}` is not a list of 2 to 26 answers")
    if labels and (not isinstance(labels, list) or len(labels) != len(texts)):
        raise BadRow(f"`{field}` has {counted(len(texts), 'answer')}, but not as many labels")
    read = [_option_text(text, field) for text in texts]
    found = [_LETTERED.fullmatch(text) for text in read]
    # AQuA writes `A)21`: the letter would be there twice.
    if all(f and f[1].upper() == LETTERS[i] and f[2] for i, f in enumerate(found)):
        read = [f[2] for f in found if f]
    return Choices(read, [str(label) for label in labels])


def _option_text(value: Any, field: str) -> str:
    if value is None or isinstance(value, dict | list):
        raise BadRow(f"`{field}` has an answer that is {kind_of(value)}, not text")
    return str(value)
