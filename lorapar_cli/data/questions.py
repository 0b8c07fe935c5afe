"""The question of a row, with everything that belongs to it: passages, options, earlier turns."""

from typing import Any

from lorapar_cli.data.choices import Choices
from lorapar_cli.data.layouts import PASSAGE_FIELDS, SYSTEM_FIELDS, Layout
from lorapar_cli.data.messages import (
    as_prompt,
    find_messages,
    read_chat,
    read_history,
)
from lorapar_cli.data.rows import BadRow, RowReader, as_text, kind_of, parse_json_text
from lorapar_cli.names import System
from lorapar_cli.store.records import Message

_TESTS = "Your code should pass these tests:"


def read_prompt(
    row: RowReader, layout: Layout, choices: Choices | None, ending: str
) -> str | list[Message]:
    """Returns the question with everything that belongs to it.

    Args:
        ending: What follows the options.

    Raises:
        BadRow: A field has a value that cannot be used, or no place in the prompt.
    """
    name = row.first(layout.question) or layout.question[0]
    value = row.take(name)
    if (messages := find_messages(value)) is not None:
        return _read_prompt_messages(row, layout, choices, name, messages)
    nested = parse_json_text(value)
    is_nested = isinstance(nested, dict) and "stem" in nested
    question = as_text(nested["stem"] if is_nested else value, name)
    if not layout.reads_parts:
        return question
    text = _with_parts(row, layout, question, name)
    if choices and not choices.are_in(text):
        text = f"{text}\n{choices.lines()}{ending}"
    if layout.has_tests:
        text = f"{text}\n\n{_TESTS}\n\n{_read_tests(row)}"
    history = read_history(row.take("history"), "history") if row.row.get("history") else []
    return as_prompt([*read_system(row, []), *history, {"role": "user", "content": text}])


def _with_parts(row: RowReader, layout: Layout, question: str, name: str) -> str:
    others = [each for each in PASSAGE_FIELDS if each != name and each in row.row]
    passages = [_passage(row, each) for each in others]
    if not layout.question_first:
        # A prompt that was built from a passage holds it already.
        passages = [passage for passage in passages if passage.strip() not in question]
    given = row.text("input") if name != "input" and "input" in row.row else ""
    parts = [question, *passages] if layout.question_first else [*passages, question]
    first, *more = [part for part in [*parts, given] if part.strip() or part is question]
    return "\n\n".join([first, *more])


def _passage(row: RowReader, name: str) -> str:
    """Returns a passage, which may be given as a list of texts."""
    value = row.take(name)
    texts = value if isinstance(value, list) else [value or ""]
    if not all(isinstance(text, str) for text in texts):
        raise BadRow(f"field `{name}` is {kind_of(value)}, not text")
    return "\n\n".join(texts)


def _read_tests(row: RowReader) -> str:
    tests = parse_json_text(row.row["test_list"])
    if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise BadRow("field `test_list` is not a list of tests")
    return "\n".join(tests)


def _read_prompt_messages(
    row: RowReader, layout: Layout, choices: Choices | None, name: str, messages: list[Any]
) -> str | list[Message]:
    """Returns a prompt that is a list of messages, in which all parts of the question must be."""
    chat = read_chat(messages, name)
    said = "\n".join(message["content"] for message in chat.messages)
    if layout.reads_parts:
        parts = [*PASSAGE_FIELDS, "input"]
        missing = [p for p in parts if row.has(p) and not _is_said(row.take(p), said)]
        if choices and not choices.are_in(said):
            missing.append("choices")
        if row.row.get("history"):
            missing.append("history")
        if missing:
            raise BadRow(f"field `{missing[0]}` has no place in `{name}`, a list of messages")
    system = read_system(row, chat.messages) if layout.reads_parts else []
    return as_prompt([*system, *chat.messages])


def _is_said(value: Any, said: str) -> bool:
    texts = value if isinstance(value, list) else [value]
    return all(isinstance(text, str) and text.strip() in said for text in texts)


def read_system(row: RowReader, messages: list[Message]) -> list[Message]:
    """Returns the system message that a row's own field holds, unless the messages begin with it.

    Raises:
        BadRow: They begin with another one.
    """
    for name in SYSTEM_FIELDS:
        text = row.row.get(name)
        # A column of that name may as well hold the label.
        if not isinstance(text, str) or not text.strip() or text in tuple(System):
            continue
        row.take(name)
        if not messages or messages[0]["role"] != "system":
            return [{"role": "system", "content": text}]
        if messages[0]["content"].strip() != text.strip():
            raise BadRow(f"field `{name}` differs from the system message")
        return []
    return []
