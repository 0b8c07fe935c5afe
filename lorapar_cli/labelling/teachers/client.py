"""Client of one OpenAI-compatible endpoint: a chat in, a reply or one of four failures out.

The SDK's own retries are off: it waits at most 8 seconds and gives up on long Retry-After headers.
`labelling.teachers.dispatch` waits and retries.
"""

import asyncio
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.teachers.label_parser import parse_cut_label, parse_label
from lorapar_cli.labelling.teachers.label_prompt import SCHEMA
from lorapar_cli.labelling.teachers.teacher import Teacher
from lorapar_cli.names import System
from lorapar_cli.store.records import Message

_SHOWN_CHARACTERS = 200
_KEYLIKE = re.compile(r"\b(?:sk|pk|key|Bearer)[-_ ][\w\-*.]{6,}", re.IGNORECASE)
_NO_CREDIT = 402
_MAX_TOKENS = 1 << 40
# Finish reasons of answers that reached `max_tokens`.
_CUT = ("length", "max_tokens")
_OVERLOADED = 529


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


class TransientError(Exception):
    """A failure worth a retry: a server error, a lost connection, an unreadable answer.

    Attributes:
        retry_after: Seconds that the server asks to wait, or None.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class RateLimited(TransientError):
    """The endpoint received too many requests (429)."""


class RequestRejected(Exception):
    """The endpoint will never answer this question (too long, content policy, ...)."""


class TeacherUnavailable(Exception):
    """The endpoint will answer no question: no key, no such model, no credit."""


class ChatClient:
    """Asks one teacher over HTTP.

    Args:
        timeout: Timeout of a request in seconds.
        connections: Maximum number of open connections.
    """

    def __init__(self, teacher: Teacher, timeout: float, connections: int) -> None:
        import httpx2
        import openai

        self._openai, self._response_type = openai, httpx2.Response
        self._teacher = teacher
        self._key = teacher.key()
        self._structured = teacher.structured
        self._temperature = teacher.temperature
        self._tokens_field = "max_tokens"
        self._has_system_role = True
        limits = httpx2.Limits(
            max_connections=connections + 1, max_keepalive_connections=connections + 1
        )
        self._client = openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url=teacher.base_url,
            default_headers=_default_headers(openai, teacher.base_url or ""),
            max_retries=0,
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 30.0)),
            http_client=openai.DefaultAsyncHttpxClient(limits=limits),
        )
        self._timeout = timeout

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def ask(self, messages: list[Message]) -> Reply:
        """Returns the endpoint's reply to one chat.

        Raises:
            RateLimited, TransientError, RequestRejected, TeacherUnavailable: It did not answer;
                the texts contain no key.
        """
        openai = self._openai
        request = self._request(messages)
        try:
            # The client's own timeout applies to each read: a slow drip would never end.
            async with asyncio.timeout(self._timeout):
                # Not `chat.completions.create`: building its typed objects takes as much time as
                # everything else, and what providers send does not always fit them.
                response = await self._client.post(
                    "/chat/completions", cast_to=self._response_type, body=request
                )
        except openai.RateLimitError as cause:
            if _code(cause) == "insufficient_quota":
                raise TeacherUnavailable(self._explain("out of credit", cause)) from None
            raise RateLimited("too many requests (429)", _retry_after(cause)) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as cause:
            raise TeacherUnavailable(self._explain("the key was not accepted", cause)) from None
        except openai.NotFoundError as cause:
            raise TeacherUnavailable(self._explain("no such model or address", cause)) from None
        except (openai.APITimeoutError, TimeoutError):
            raise TransientError("no answer within the timeout") from None
        except openai.APIConnectionError as cause:
            reason = type(cause.__cause__ or cause).__name__
            raise TransientError(f"the connection failed ({reason})") from None
        except openai.APIStatusError as cause:
            if cause.status_code == _NO_CREDIT:
                raise TeacherUnavailable(self._explain("out of credit", cause)) from None
            if cause.status_code in (408, 409, _OVERLOADED) or cause.status_code >= 500:
                retry_after = _retry_after(cause)
                raise TransientError(f"server error {cause.status_code}", retry_after) from None
            if self._adapt(cause, request):
                return await self.ask(messages)
            raise RequestRejected(self._explain("rejected", cause)) from None
        except openai.APIError:
            raise TransientError("unreadable answer") from None
        return self._read(response.content)

    def _request(self, messages: list[Message]) -> dict[str, Any]:
        request = {
            "model": self._teacher.model,
            "messages": messages if self._has_system_role else _without_system(messages),
            self._tokens_field: self._teacher.max_tokens,
        }
        if self._temperature is not None:
            request["temperature"] = self._temperature
        if self._structured == "json_schema":
            schema = {"name": "label", "schema": SCHEMA, "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self._structured == "json_object":
            request["response_format"] = {"type": "json_object"}
        return request

    def _adapt(self, cause: Any, request: dict[str, Any]) -> bool:
        """Drops the part of requests that the endpoint does not support; False if there is none.

        The request itself decides: others were in flight with the same part, and their errors
        arrive after it was dropped.
        """
        said = str(cause).lower()
        head = request["messages"][0]["role"]
        if "response_format" in request and ("response_format" in said or "schema" in said):
            self._structured = "none"
        elif "temperature" in request and "temperature" in said:
            self._temperature = None
        elif "max_tokens" in request and "max_completion_tokens" in said:
            self._tokens_field = "max_completion_tokens"
        elif head == "system" and "system" in said and "role" in said:
            self._has_system_role = False
        else:
            return False
        return True

    def _read(self, content: bytes) -> Reply:
        try:
            answer = json.loads(content)
            choice = answer["choices"][0]
            message = choice["message"]
            text = _text(message.get("content")) or _text(message.get("refusal"))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise TransientError("unreadable answer") from None
        # A paid answer is never discarded because its usage cannot be read.
        usage = answer.get("usage")
        prompt, completion = (
            _count(usage.get(name)) if isinstance(usage, dict) else None
            for name in ("prompt_tokens", "completion_tokens")
        )
        cut = str(choice.get("finish_reason")).lower() in _CUT
        return Reply(self._scrub(text), prompt, completion, cut)

    def _explain(self, reason: str, cause: Any) -> str:
        body = getattr(cause, "body", None)
        said = body.get("message") if isinstance(body, dict) else None
        said = self._scrub(str(said))[:_SHOWN_CHARACTERS] if said else ""
        return f"{reason} ({cause.status_code})" + (f": {said}" if said else "")

    def _scrub(self, text: str) -> str:
        """Removes the key from a text: some servers repeat it in their errors."""
        if self._key and len(self._key) >= 6:
            text = text.replace(self._key, "[key]")
            return _KEYLIKE.sub("[key]", text) if self._key[:6] in text else text
        return text


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


def _count(tokens: Any) -> int | None:
    """Returns a reported number of tokens, or None if it is not valid."""
    return tokens if type(tokens) is int and 0 <= tokens < _MAX_TOKENS else None


def _without_system(messages: list[Message]) -> list[Message]:
    """Moves the system message into the user's, for models without a system role."""
    head, *rest = messages
    if head["role"] != "system" or not rest:
        return messages
    return [rest[0] | {"content": f"{head['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


def _default_headers(openai: Any, base_url: str) -> dict[str, Any]:
    """Hides the user's OpenAI organisation and project from other providers."""
    if urlsplit(base_url).hostname == "api.openai.com":
        return {}
    return {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}


def _code(cause: Any) -> str | None:
    body = cause.body if isinstance(cause.body, dict) else {}
    return body.get("code") or body.get("type")


def _retry_after(cause: Any) -> float | None:
    """Returns the seconds that a response asks to wait: a number, milliseconds or a date."""
    headers = cause.response.headers
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        until = parsedate_to_datetime(headers["retry-after"])
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None


def check_keys(teachers: list[Teacher]) -> None:
    """Checks that all teachers can be asked.

    Raises:
        LoraparError: A key is missing; lists every such teacher.
    """
    missing = [f"`{t.name}`: {t.missing()}" for t in teachers if t.missing()]
    if missing:
        raise LoraparError(
            "teachers cannot be asked",
            "\n".join(missing),
            "set the variable, or choose other teachers from `lorapar teachers`",
        )
