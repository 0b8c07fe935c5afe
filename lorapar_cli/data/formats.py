"""Turns a row of any recognised format into a record."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lorapar_cli.grading.answers import extract_answer, extract_explicit, parse_number
from lorapar_cli.names import System
from lorapar_cli.store.records import RECORD_FIELDS, Message, Record

Row = dict[str, Any]
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SOURCE_LABEL = "source_label"


class BadRow(ValueError):
    """A row that is not a valid record; the message says what was found."""


@dataclass(frozen=True)
class Content:
    """What a format reads from a row.

    Attributes:
        reference_answer: The final answer, if the row has a field for it.
        is_problem: Whether the completion works towards an answer, so that its last number is it.
    """

    prompt: str | list[Message]
    completion: str
    reference_answer: str | None = None
    is_problem: bool = False


@dataclass(frozen=True)
class Format:
    """A recognised data format.

    Attributes:
        required: A row is of this format if it has all of these fields.
        used: All fields that go into the record; the others become extra fields.
    """

    name: str
    required: tuple[str, ...]
    used: tuple[str, ...]
    read: Callable[[Row], Content]


def _text(row: Row, field: str) -> str:
    """Returns a field as text; numbers become text, None becomes empty."""
    value = row.get(field)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadRow(f"field `{field}` is {type(value).__name__}, not text")
    return str(value)


def _messages(value: Any, field: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise BadRow(f"field `{field}` is not a list of messages")
    for message in value:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRow(f"field `{field}` has a message without a role")
    return [{"role": m["role"], "content": _content_text(m.get("content"), field)} for m in value]


def _content_text(content: Any, field: str) -> str:
    """Returns a message's content, which is text or a list of text parts."""
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            raise BadRow(f"field `{field}` has a message whose content is not text")
        texts.append(text)
    return "".join(texts)


def _as_prompt(messages: list[Message]) -> str | list[Message]:
    """Returns the text of a single user message; otherwise the messages."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    return messages


def _read_messages(row: Row) -> Content:
    messages = _messages(row["messages"], "messages")
    last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=0)
    if last == 0:
        raise BadRow("`messages` has no assistant message after another message")
    return Content(_as_prompt(messages[:last]), messages[last]["content"])


def _read_choices(row: Row) -> Content:
    choices = row["choices"]
    if isinstance(choices, str):
        try:
            choices = json.loads(choices)
        except ValueError as cause:
            raise BadRow("`choices` is text but not a JSON list") from cause
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(_LETTERS):
        raise BadRow("`choices` is not a list of 2 to 26 answers")
    letter = _letter(row["answer"], len(choices))
    options = "\n".join(f"{_LETTERS[i]}. {choice}" for i, choice in enumerate(choices))
    return Content(f"{_text(row, 'question')}\n{options}\nAnswer:", letter, letter)


def _letter(answer: Any, count: int) -> str:
    """Returns the letter of an answer that is given as an index from 0 or as a letter."""
    text = str(answer).strip().removesuffix(".0")
    index = int(text) if re.fullmatch("[0-9]{1,2}", text) else -1
    if len(text) == 1 and not text.isdecimal():
        index = _LETTERS.find(text.upper())
    if not 0 <= index < count:
        raise BadRow(f"`answer` is {answer!r}, not one of {count} choices")
    return _LETTERS[index]


def _read_question(row: Row) -> Content:
    return Content(_text(row, "question"), _text(row, "answer"), is_problem=True)


def _with_context(instruction: str, context: str) -> str:
    return f"{instruction}\n\n{context}" if context.strip() else instruction


def _read_dolly(row: Row) -> Content:
    prompt = _with_context(_text(row, "instruction"), _text(row, "context"))
    return Content(prompt, _text(row, "response"))


def _read_alpaca(row: Row) -> Content:
    prompt = _with_context(_text(row, "instruction"), _text(row, "input"))
    return Content(prompt, _text(row, "output"))


def _read_completion(row: Row) -> Content:
    prompt, completion = row["prompt"], row["completion"]
    prompt = _as_prompt(_messages(prompt, "prompt")) if isinstance(prompt, list) else None
    if isinstance(completion, list):
        completion = "\n".join(m["content"] for m in _messages(completion, "completion"))
    else:
        completion = _text(row, "completion")
    known = row.get("reference_answer")
    return Content(
        _text(row, "prompt") if prompt is None else prompt,
        completion,
        None if known is None else str(known),
    )


def _read_humaneval(row: Row) -> Content:
    return Content(_text(row, "prompt"), _text(row, "canonical_solution"))


def _format(name: str, required: str, optional: str, read: Callable[[Row], Content]) -> Format:
    needed = tuple(required.split())
    return Format(name, needed, (*needed, *optional.split()), read)


# Tried in this order: rows of `mmlu` have the fields of `gsm8k` too.
FORMATS = {
    one.name: one
    for one in (
        _format("messages", "messages", "", _read_messages),
        _format("mmlu", "question choices answer", "", _read_choices),
        _format("gsm8k", "question answer", "", _read_question),
        _format("dolly", "instruction response", "context", _read_dolly),
        _format("alpaca", "instruction output", "input", _read_alpaca),
        _format("completion", "prompt completion", "reference_answer", _read_completion),
        _format("humaneval", "prompt canonical_solution", "", _read_humaneval),
    )
}


@dataclass(frozen=True)
class Fields:
    """How rows become records.

    Attributes:
        format: A name in `FORMATS`, or `auto` to recognise each row by its fields.
        prompt: Field with the prompt, overriding the format; requires `completion`.
        completion: Field with the completion.
        id: Field with the record's id.
    """

    format: str = "auto"
    prompt: str | None = None
    completion: str | None = None
    id: str = "id"


def read_row(row: Row, fields: Fields) -> Record:
    """Returns the record of one row.

    Its id is the row's own, or a digest of prompt and completion.

    Raises:
        BadRow: Fields are missing, or their values are not valid.
    """
    content, used = _content(row, fields)
    reference, own_id = content.reference_answer, _own_id(row, fields.id)
    record = Record(
        id=own_id or content_digest(content.prompt, content.completion)[:16],
        prompt=content.prompt,
        completion=content.completion,
        reference_answer=_final_answer(content) if reference is None else reference,
        extra=_extra(row, {*used} if own_id is None and row.get(fields.id) else {*used, fields.id}),
    )
    try:
        json.dumps(record.to_json(), ensure_ascii=False).encode()
    except UnicodeEncodeError as cause:
        raise BadRow("the text is not UTF-8, or contains half a surrogate pair") from cause
    except TypeError as cause:
        raise BadRow(f"a field cannot be written as JSON: {cause}") from cause
    return record


def _final_answer(content: Content) -> str | None:
    """Returns the completion's final answer, else None.

    The last number of prose or code is not an answer, and a reward for it would teach nonsense.
    There only a marked answer counts, or a completion that is nothing but a number or a word.
    """
    if content.is_problem:
        return extract_answer(content.completion)
    whole = content.completion.strip()
    bare = len(whole) < 40 and (parse_number(whole) is not None or len(whole.split()) == 1)
    return extract_answer(whole) if bare else extract_explicit(whole)


def _content(row: Row, fields: Fields) -> tuple[Content, tuple[str, ...]]:
    if fields.prompt and fields.completion:
        used = (fields.prompt, fields.completion)
        _require(row, used)
        renamed = {"prompt": row[fields.prompt], "completion": row[fields.completion]}
        return _read_completion(renamed), used
    if fields.format != "auto":
        chosen = FORMATS[fields.format]
        _require(row, chosen.required)
        return chosen.read(row), chosen.used
    for candidate in FORMATS.values():
        if all(row.get(field) is not None for field in candidate.required):
            return candidate.read(row), candidate.used
    raise BadRow(f"fields {_names(row)} match no known format")


def _require(row: Row, wanted: tuple[str, ...]) -> None:
    missing = [field for field in wanted if row.get(field) is None]
    if missing:
        raise BadRow(f"field `{missing[0]}` is missing among {_names(row)}")


def _names(row: Row) -> str:
    return ", ".join(f"`{name}`" for name in list(row)[:12]) or "(none)"


def _own_id(row: Row, field: str) -> str | None:
    value = row.get(field)
    usable = isinstance(value, str | int) and not isinstance(value, bool)
    return str(value) if usable and str(value).strip() else None


def _extra(row: Row, used: set[str]) -> Row:
    """Returns the fields that the record does not use; `source_` is added to names of ours."""
    return {
        f"source_{key}" if key in RECORD_FIELDS else str(key): value
        for key, value in row.items()
        if key not in used
    }


def empty_side(record: Record) -> str | None:
    """Returns which side of a record is empty (`empty prompt`, `empty completion`), else None."""
    if not record.completion.strip():
        return "empty completion"
    texts = (
        [record.prompt]
        if isinstance(record.prompt, str)
        else (message["content"] for message in record.prompt)
    )
    return None if any(text.strip() for text in texts) else "empty prompt"


def content_digest(prompt: str | list[Message], completion: str) -> str:
    """Returns the sha256 of a record's prompt and completion, in hex."""
    return hashlib.sha256(json.dumps([prompt, completion]).encode()).hexdigest()


def source_label(record: Record) -> System | None:
    """Returns the label in the source's own `label` field, None if that is not one of ours."""
    value = record.extra.get(SOURCE_LABEL)
    return System(value) if value in tuple(System) else None
