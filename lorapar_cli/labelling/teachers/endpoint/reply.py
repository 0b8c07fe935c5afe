"""Reads the body of a successful response: the teacher's answer, or what stands in its place."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lorapar_cli.labelling.teachers.endpoint.refusals import (
    Refusal,
    TransientError,
    read_json_text,
    status_inside,
)
from lorapar_cli.labelling.teachers.label_parser import parse_cut_label, parse_label
from lorapar_cli.names import System

_MAX_TOKENS = 1 << 40
# Finish reasons of answers that reached `max_tokens`.
_CUT = ("length", "max_tokens")
_ERRORS = ("error", "errors", "detail", "base_resp")


@dataclass(frozen=True)
class Reply:
    """A teacher's answer.

    Attributes:
        prompt_tokens, completion_tokens: As reported; None if nothing valid was reported.
        cut: Whether the answer was truncated at `max_tokens`.
        estimated: Whether the numbers of tokens are our estimate.
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cut: bool = False
    estimated: bool = False

    def label(self) -> System | None:
        """Returns the one system that the answer names, or None."""
        return parse_cut_label(self.text) if self.cut else parse_label(self.text)


def read_reply(content: bytes, headers: Mapping[str, str]) -> Reply | Refusal:
    """Returns the answer in a response with status 200, or what it says instead.

    Raises:
        TransientError: It is neither.
    """
    text = content.decode("utf-8", errors="replace").removeprefix("\ufeff").strip()
    if not text.startswith(("{", "[", '"')) and any(_events(text[:2000])):
        try:
            value: Any = _joined(text)
        except (TypeError, AttributeError):
            raise TransientError("unreadable event stream") from None
    else:
        value = read_json_text(text)
    if _is_error(value) or not isinstance(value, dict):
        said = json.dumps(value) if isinstance(value, dict | list) else text
        if not said or (value is None and said.startswith(("{", "["))):
            raise TransientError("unreadable answer")
        return Refusal(status_inside(said), said, headers, in_success=True)
    try:
        choice = value["choices"][0]
        answer = _answer(choice["message"])
    except (LookupError, TypeError, AttributeError):
        if "choices" not in value and "object" not in value:
            return Refusal(status_inside(text), text, headers, in_success=True)
        raise TransientError("unreadable answer") from None
    # A paid answer is never discarded because its usage cannot be read.
    usage = value.get("usage")
    prompt, completion = (
        _count(usage.get(name)) if isinstance(usage, dict) else None
        for name in ("prompt_tokens", "completion_tokens")
    )
    return Reply(answer, prompt, completion, str(choice.get("finish_reason")).lower() in _CUT)


def _is_error(value: Any) -> bool:
    """Returns whether a body reports an error, which gateways also do next to an empty choice."""
    if isinstance(value, list):
        return any(_is_error(each) for each in value[:20])
    if not isinstance(value, dict):
        return False
    choices = value.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if value.get("error") or (isinstance(first, dict) and first.get("error")):
        return True
    return not first and any(value.get(name) for name in (*_ERRORS, "message"))


def _answer(message: dict[str, Any]) -> str:
    """Returns the text of a message: its content, else the other places where answers stand.

    Servers with a parser for reasoning or for tools leave an answer there that they took for
    either.

    Raises:
        TypeError: The content is not text.
    """
    content = _text(message.get("content"))
    places = (
        content,
        _arguments(message),
        _text(message.get("refusal")),
        _reasoning(message),
    )
    return next((text for text in places if text.strip()), content)


def _text(content: Any) -> str:
    """Returns a message's content, a string, text parts or nothing, as text.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content)
    if content is not None and not isinstance(content, str):
        raise TypeError(f"content is {type(content).__name__}")
    return content or ""


def _arguments(message: dict[str, Any]) -> str:
    """Returns the arguments of the first tool call that has any."""
    calls = message.get("tool_calls")
    functions = [call.get("function") for call in calls or [] if isinstance(call, dict)]
    for function in (*functions, message.get("function_call")):
        given = function.get("arguments") if isinstance(function, dict) else None
        if isinstance(given, dict) and given:
            return json.dumps(given, ensure_ascii=False)
        if isinstance(given, str) and given.strip() not in ("", "{}", "null"):
            return given
    return ""


def _reasoning(message: dict[str, Any]) -> str:
    for name in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(given := message.get(name), str) and given.strip():
            return given
    parts = [*_parts(message.get("reasoning_details")), *_parts(message.get("content"))]
    return "".join(parts)


def _parts(details: Any) -> Iterator[str]:
    """Yields the texts of reasoning that is given in parts, as some providers nest them."""
    for part in details if isinstance(details, list) else []:
        if isinstance(part, dict):
            for name in ("text", "summary", "thinking"):
                given = part.get(name)
                if isinstance(given, str):
                    yield given
                yield from _parts(given)


def _count(tokens: Any) -> int | None:
    """Returns a reported number of tokens, or None if it is not valid."""
    return tokens if type(tokens) is int and 0 <= tokens < _MAX_TOKENS else None


def _events(text: str) -> Iterator[str]:
    """Yields the data of an event stream; nothing where a text is none."""
    for line in text.splitlines():
        name, colon, data = line.partition(":")
        if line.strip() and not (colon and name in ("", "data", "event", "id", "retry")):
            return
        if name == "data":
            yield data.strip()


def _joined(text: str) -> dict[str, Any]:
    """Returns an event stream as the one response that its pieces make up, or its error.

    Raises:
        TransientError: It ends before the answer does.
    """
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "tool_calls": []}
    whole: dict[str, Any] = {"object": "chat.completion"}
    finish, arguments, ended = None, "", False
    for data in _events(text):
        ended = ended or data == "[DONE]"
        chunk = read_json_text(data)
        if _is_error(chunk):
            return chunk if isinstance(chunk, dict) else {"error": chunk}
        if not isinstance(chunk, dict):
            if not ended and chunk is None and data:
                return {"error": data}
            continue
        whole |= {"usage": chunk["usage"]} if isinstance(chunk.get("usage"), dict) else {}
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        delta = choice.get("delta") or choice.get("message") or {}
        finish = choice.get("finish_reason") or finish
        message["content"] += delta.get("content") or ""
        message["reasoning_content"] += (
            delta.get("reasoning_content") or delta.get("reasoning") or ""
        )
        for call in delta.get("tool_calls") or []:
            arguments += (call.get("function") or {}).get("arguments") or ""
    if not ended and finish is None:
        raise TransientError("an event stream that ends before the answer does")
    message["tool_calls"] = [{"function": {"arguments": arguments}}]
    return whole | {"choices": [{"message": message, "finish_reason": finish}]}
