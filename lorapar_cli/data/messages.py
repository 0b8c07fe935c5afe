"""Chat messages, in `role` and `content` or in ShareGPT's `from` and `value`."""

from dataclasses import dataclass, field
from typing import Any

from lorapar_cli.data.rows import BadRow, as_text, kind_of, parse_json_field, parse_json_text
from lorapar_cli.store.records import Message

# Who speaks, by ShareGPT's names. `function_call` is a call that is written as JSON text.
_SHAREGPT_ROLES = {
    "system": "system",
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function_response"), "tool"),
    "function_call": "assistant",
}
# Parts of a message that a model would see or say, which no record has a place for.
_UNUSED = ("reasoning_content", "reasoning", "thinking", "images", "audio")


@dataclass
class Chat:
    """The messages of one conversation.

    Attributes:
        messages: Each with `role` and `content`, and where it has them `tool_calls`,
            `tool_call_id` and, of a tool, `name`.
        has_loss: Whether each may be trained on; False where its `weight` is 0.
        unused: Names of contents of messages that are not read.
    """

    messages: list[Message]
    has_loss: list[bool]
    unused: set[str] = field(default_factory=set)


def find_messages(value: Any) -> list[Any] | None:
    """Returns the messages in a field that may as well hold plain text; None if it does."""
    found = [value] if isinstance(value, dict) else parse_json_text(value)
    if not isinstance(found, list) or not found:
        return None
    are_objects = all(isinstance(each, dict) for each in found)
    are_messages = are_objects and all("role" in each or "from" in each for each in found)
    return found if are_messages or (are_objects and found is value) else None


def read_chat(value: Any, name: str) -> Chat:
    """Returns the conversation that a field holds, as a list or as JSON text.

    Raises:
        BadRow: It is not a list of messages with text.
    """
    value = parse_json_field(value)
    if not isinstance(value, list) or not value:
        raise BadRow(f"field `{name}` is not a list of messages")
    chat = Chat([], [])
    for number, message in enumerate(value, 1):
        place = f"message {number} of `{name}`"
        if not isinstance(message, dict):
            raise BadRow(f"{place} is {kind_of(message)}, not an object")
        present = {key: each for key, each in message.items() if each is not None}
        read = _read_role_content if "role" in present else _read_from_value
        chat.messages.append(read(message, present, place))
        chat.has_loss.append(_read_weight(present, place))
        chat.unused |= {f"{name}[].{key}" for key in _UNUSED if present.get(key)}
    return chat


def _read_role_content(message: dict[str, Any], present: dict[str, Any], place: str) -> Message:
    role = present["role"]
    if not isinstance(role, str):
        raise BadRow(f"{place} has a role that is {kind_of(role)}, not text")
    if "function_call" in present:
        raise BadRow(f"{place} has `function_call`, the older form of `tool_calls`")
    calls = _read_tool_calls(present.get("tool_calls") or [], place)
    if "content" not in present and not calls:
        raise _missing(message, "content", place)
    read: Message = {"role": role, "content": _read_content(present.get("content", ""), place)}
    if calls:
        read["tool_calls"] = calls
    if "tool_call_id" in present:
        read["tool_call_id"] = as_text(present["tool_call_id"], "tool_call_id")
    if role == "tool" and "name" in present:
        read["name"] = as_text(present["name"], "name")
    return read


def _missing(message: dict[str, Any], key: str, place: str) -> BadRow:
    return BadRow(f"{place} has `{key}` null" if key in message else f"{place} has no `{key}`")


def _read_content(content: Any, place: str) -> str:
    """Returns a message's content, which is text or a list of text parts."""
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            raise BadRow(f"{place} has content that is not text")
        texts.append(text)
    return "".join(texts)


def _read_tool_calls(calls: Any, place: str) -> list[dict[str, Any]]:
    """Returns tool calls as they came, ids included, without keys that are null."""
    if not isinstance(calls, list):
        raise BadRow(f"{place} has `tool_calls` that is {kind_of(calls)}, not a list")
    read = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRow(f"{place} has a tool call without the name of a function")
        read.append({key: each for key, each in call.items() if each is not None})
    return read


def _read_from_value(message: dict[str, Any], present: dict[str, Any], place: str) -> Message:
    if "from" not in present:
        raise _missing(message, "from" if "from" in message else "role", place)
    if "value" not in present:
        raise _missing(message, "value", place)
    speaker = as_text(present["from"], "from")
    if speaker not in _SHAREGPT_ROLES:
        raise BadRow(f"{place} is from an unknown speaker, `{speaker}`")
    text = _read_content(present["value"], place)
    role = _SHAREGPT_ROLES[speaker]
    if speaker == "function_call":
        return {"role": role, "content": "", "tool_calls": _parse_calls(text, place)}
    return {"role": role, "content": text}


def _parse_calls(text: str, place: str) -> list[dict[str, Any]]:
    """Returns the calls that ShareGPT writes as `{"name": ..., "arguments": {...}}`."""
    value = parse_json_field(text)
    functions = value if isinstance(value, list) else [value]
    return _read_tool_calls(
        [{"type": "function", "function": function} for function in functions], place
    )


def _read_weight(present: dict[str, Any], place: str) -> bool:
    weight = present.get("weight", 1)
    if weight not in (0, 1):
        raise BadRow(f"{place} has weight {weight!r}, neither 0 nor 1")
    return bool(weight)


def choose_targets(chat: Chat, name: str, turns: str) -> list[int]:
    """Returns the indices of the messages that become completions.

    They are assistant messages after another message whose weight is not 0. A tool call is never
    one: a completion is text.

    Args:
        turns: `last` for the last of them, `all` for each.

    Raises:
        BadRow: There is none.
    """
    messages = chat.messages
    said = [i for i, message in enumerate(messages) if i and message["role"] == "assistant"]
    if not said:
        raise BadRow(f"`{name}` has no assistant message after another message")
    trained = [i for i in said if chat.has_loss[i]]
    if not trained:
        raise BadRow(f"every assistant message of `{name}` has weight 0")
    texts = [i for i in trained if "tool_calls" not in messages[i]]
    wanted = texts if turns == "all" else [i for i in trained[-1:] if i in texts]
    if not wanted:
        raise BadRow(f"the assistant message of `{name}` to train on is a tool call, not text")
    return wanted


def as_prompt(messages: list[Message]) -> str | list[Message]:
    """Returns the text of a single user message; otherwise the messages."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        text: str = messages[0]["content"]
        return text
    return messages


def first_question(prompt: str | list[Message]) -> str | list[Message]:
    """Returns the part of a prompt that all turns of its conversation share."""
    if isinstance(prompt, str):
        return prompt
    asked = next((i for i, message in enumerate(prompt) if message["role"] == "user"), None)
    return prompt if asked is None else as_prompt(prompt[: asked + 1])


def read_history(value: Any, name: str) -> list[Message]:
    """Returns earlier turns: pairs of question and answer, or messages.

    Raises:
        BadRow: It is neither.
    """
    value = parse_json_field(value)
    if isinstance(value, list) and value and all(_is_pair(each) for each in value):
        return [
            message
            for question, answer in value
            for message in (
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            )
        ]
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return read_chat(value, name).messages
    raise BadRow(f"field `{name}` is neither pairs of question and answer nor messages")


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(isinstance(text, str) for text in value)
    )


def read_tools(value: Any) -> list[dict[str, Any]] | None:
    """Returns the definitions of tools that a field holds, as a list or JSON text; None if not."""
    value = parse_json_field(value)
    defined = isinstance(value, list) and value and all(isinstance(each, dict) for each in value)
    return value if defined else None
