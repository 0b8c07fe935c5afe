"""From a row and its layout to prompt, completion and reference answers."""

import re
from dataclasses import dataclass, field
from typing import Any

from lorapar_cli.data.choices import Choices, take_choices
from lorapar_cli.data.layouts import ANSWER_FIELDS, KEY_FIELDS, Layout
from lorapar_cli.data.messages import (
    as_prompt,
    choose_targets,
    find_messages,
    read_chat,
    read_tools,
)
from lorapar_cli.data.questions import read_prompt, read_system
from lorapar_cli.data.references import final_answer, given_answers, is_bare
from lorapar_cli.data.rows import BadRow, RowReader, as_text
from lorapar_cli.grading.answers import extract_answer, extract_explicit
from lorapar_cli.store.records import Message

_SAYS_ANSWER = re.compile(r"\banswer\b", re.IGNORECASE)


@dataclass(frozen=True)
class Rules:
    """What the user says about all rows.

    Attributes:
        answer_field: Field with the reference answers, None for those that are known.
        turns: Which assistant messages become completions: `last` or `all`.
        numeric: Whether every answer is a number.
    """

    answer_field: str | None = None
    turns: str = "last"
    numeric: bool = False


@dataclass
class Content:
    """What a row says.

    Attributes:
        references: Accepted answers; none where there is no final answer.
        tools: Definitions of the tools that the model may call.
        unused: Names of contents that may matter and are not read.
    """

    prompt: str | list[Message]
    completion: str
    references: list[str]
    tools: list[dict[str, Any]] | None = None
    unused: set[str] = field(default_factory=set)


def read_contents(row: RowReader, layout: Layout, rules: Rules) -> list[Content]:
    """Returns what a row of a layout says: one content, or one for each of its turns.

    Raises:
        BadRow: A field has a value that cannot be used.
    """
    if not layout.completion:
        return _read_turns(row, layout, rules)
    if layout.completion == ("chosen",) and (whole := _read_chosen_chat(row, layout, rules)):
        return [whole]
    return [_read_pair(row, layout, rules)]


def read_labelled(row: RowReader, rules: Rules) -> Content:
    """Returns what a line of `classify` says, whose prompt and completion are not read again.

    Raises:
        BadRow: A field has a value that cannot be used.
    """
    prompt = row.take("prompt")
    prompt = read_chat(prompt, "prompt").messages if isinstance(prompt, list) else prompt
    if not isinstance(prompt, list):
        prompt = as_text(prompt, "prompt")
    completion = as_text(row.take("completion"), "completion")
    given, unread = _given_references(row, rules, None, "completion")
    found = given or _found(final_answer(completion, numeric=rules.numeric))
    return Content(prompt, completion, found, _read_tools(row), unread)


def _read_turns(row: RowReader, layout: Layout, rules: Rules) -> list[Content]:
    name = row.first(layout.question) or layout.question[0]
    chat = read_chat(row.take(name), name)
    given, unread = _given_references(row, rules, None, None)
    system, tools = read_system(row, chat.messages), _read_tools(row)
    contents = []
    targets = choose_targets(chat, name, rules.turns)
    for target in targets:
        completion = chat.messages[target]["content"]
        # What the row gives is the answer to its last question.
        references = given if target == targets[-1] else []
        contents.append(
            Content(
                as_prompt([*system, *chat.messages[:target]]),
                completion,
                references or _found(final_answer(completion, numeric=rules.numeric)),
                tools,
                chat.unused | unread,
            )
        )
    return contents


def _read_chosen_chat(row: RowReader, layout: Layout, rules: Rules) -> Content | None:
    """Returns what a preferred conversation says, None where `chosen` is the answer alone."""
    messages = find_messages(row.row["chosen"])
    if messages and any(m["role"] == "user" for m in read_chat(messages, "chosen").messages):
        whole = Layout("chosen", ("chosen",))
        return _read_turns(row, whole, Rules(rules.answer_field, "last", rules.numeric))[0]
    if row.first(layout.question) == "chosen":
        raise BadRow("`chosen` is an answer, and no field holds its prompt")
    return None


def _read_pair(row: RowReader, layout: Layout, rules: Rules) -> Content:
    choices = take_choices(row) if layout.reads_choices and layout.reads_parts else None
    name = _completion_field(row, layout, choices)
    given, unread = _given_references(row, rules, choices, name)
    if _is_answer(name) or name == rules.answer_field:
        completion, own = _read_answer(row, name, choices, rules)
    elif choices:
        completion, own = _read_chosen_option(row, name, choices)
    else:
        completion = _completion_text(row, name)
        own = [] if given else _found(final_answer(completion, numeric=rules.numeric))
    # Options that are answered by a letter alone end as the published tests do.
    ending = "\nAnswer:" if choices and completion == next(iter(own), None) else ""
    prompt = read_prompt(row, layout, choices, ending)
    return Content(prompt, completion, given or own, _read_tools(row), unread)


def _is_answer(name: str) -> bool:
    return name in (*ANSWER_FIELDS, *KEY_FIELDS, "label")


def _completion_field(row: RowReader, layout: Layout, choices: Choices | None) -> str:
    """Returns the field with the completion: a worked solution rather than the answer alone.

    A field for the answer may be worked itself, and is the completion then if it comes first.
    """
    present = [name for name in layout.completion if row.has(name)]
    filled = [name for name in present if row.row[name] != ""] or present
    answers = [name for name in filled if _is_answer(name)]
    worked = [name for name in filled if not _is_answer(name)]
    if not answers or not worked:
        return filled[0]
    is_worked = choices is None and not is_bare(row.row[answers[0]])
    return filled[0] if is_worked else worked[0]


def _given_references(
    row: RowReader, rules: Rules, choices: Choices | None, completion: str | None
) -> tuple[list[str], set[str]]:
    """Returns the reference answers that a row gives, and the fields that cannot be read as such.

    Args:
        completion: Field with the completion, which is not looked at.
    """
    unread: set[str] = set()
    if rules.answer_field:
        if rules.answer_field not in row.row:
            row.require([rules.answer_field])
        return _references(row.row[rules.answer_field], rules.answer_field, choices), unread
    for name in (*ANSWER_FIELDS, *(KEY_FIELDS if choices else ())):
        if name == completion or not row.has(name):
            continue
        if name in ("reference_answer", "reference_answers"):
            row.take(name)
        try:
            if found := _references(row.row[name], name, choices):
                return found, unread
        except BadRow:
            if choices:
                raise
            unread.add(name)
    return [], unread


def _references(value: Any, name: str, choices: Choices | None) -> list[str]:
    if choices and value not in (None, ""):
        return [choices.letter(value, name, name in KEY_FIELDS)]
    return given_answers(value, name)


def _read_answer(
    row: RowReader, name: str, choices: Choices | None, rules: Rules
) -> tuple[str, list[str]]:
    """Returns the completion of a field with an answer, and what that answer is."""
    value = row.take(name)
    if choices:
        if isinstance(value, str) and (worked := _worked_letter(value, choices)):
            return value, [worked]
        letter = choices.letter(value, name, name in KEY_FIELDS)
        return letter, [letter]
    if name == "label":
        if value not in (0, 1):
            raise BadRow("field `label` is neither true nor false")
        value = bool(value)
    if isinstance(value, bool | list | dict):
        accepted = given_answers(value, name)
        if not accepted:
            raise BadRow(f"field `{name}` holds no answer")
        return accepted[0], accepted
    completion = as_text(value, name)
    return completion, _found(final_answer(completion, numeric=rules.numeric, is_answer=True))


def _worked_letter(text: str, choices: Choices) -> str | None:
    """Returns the option that a worked answer marks, or names as its answer, else None."""
    marked = extract_explicit(text)
    said = extract_answer(text) if marked is None and _SAYS_ANSWER.search(text) else marked
    return None if said is None else choices.find_letter(said)


def _read_chosen_option(row: RowReader, name: str, choices: Choices) -> tuple[str, list[str]]:
    """Returns the completion of any other field of a question with options, and its option."""
    completion = _completion_text(row, name)
    if worked := _worked_letter(completion, choices):
        return completion, [worked]
    try:
        letter = choices.letter(completion, name)
    except BadRow:
        return completion, []
    return letter, [letter]


def _completion_text(row: RowReader, name: str) -> str:
    value = row.take(name)
    messages = find_messages(value)
    if messages is None:
        return as_text(value, name)
    chat = read_chat(messages, name)
    if any("tool_calls" in message for message in chat.messages):
        raise BadRow(f"`{name}` has a tool call, which is not text")
    return "\n".join(message["content"] for message in chat.messages)


def _found(answer: str | None) -> list[str]:
    return [] if answer is None else [answer]


def _read_tools(row: RowReader) -> list[dict[str, Any]] | None:
    tools = read_tools(row.row.get("tools"))
    if tools is not None:
        row.take("tools")
    return tools
