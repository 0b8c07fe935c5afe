"""What an endpoint says instead of an answer, and what follows from it."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any

_SHOWN_CHARACTERS = 300
# What is read of a body to show or to understand it; some repeat the whole question.
_READ_CHARACTERS = 20_000
# What requests contained, repeated: says nothing about what was wrong with them.
_ECHOES = {"input", "failed_generation", "request", "body", "messages", "prompt"}
_MESSAGES = ("raw", "message", "msg", "detail", "error", "errors", "status_msg", "reason", "title")
_CODES = ("code", "type", "status", "status_code", "statuscode", "http_status", "reason")
# Words of codes and types, in this order, and the status that they stand for.
_MEANINGS = (
    (402, re.compile(r"insufficient.?(?:quota|balance|credit|funds)|payment|billing|arrearage")),
    (429, re.compile(r"rate.?limit|too.?many.?requests|resource.?exhausted|throttl")),
    (401, re.compile(r"api.?key|authenticat|authoriz|authoris|login.?fail")),
    (403, re.compile(r"permission|forbidden|access.?denied")),
    (404, re.compile(r"not.?found|unknown.?url|no.?such.?model|unexpected endpoint")),
    (503, re.compile(r"overload|unavailable|server.?error|internal|timeout|busy")),
    (400, re.compile(r"invalid.?(?:request|argument|parameter)|bad.?request|unsupported")),
)
_WAIT_KEYS = {
    "retryafter": 1.0,
    "retryafterseconds": 1.0,
    "retryafterms": 0.001,
    "retrydelay": 1.0,
}
_WAIT_WORDS = re.compile(
    r"(?:try again|retry)(?: again)? (?:in|after) ((?:\d{1,9}(?:\.\d{1,9})? ?"
    r"(?:ms|milliseconds?|h|hours?|m|min|minutes?|s|secs?|seconds?)(?![a-z]) ?){1,4})",
    re.IGNORECASE,
)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(ms|mil|h|m|s)", re.IGNORECASE)
_UNITS = {"ms": 0.001, "mil": 0.001, "h": 3600.0, "m": 60.0, "s": 1.0}
_TAG = re.compile(r"<[^<>]{0,2000}>")


class TransientError(Exception):
    """A failure worth a retry: a server error, a lost connection, an unreadable answer.

    Attributes:
        retry_after: Seconds that the server asks to wait, or None.
        words: The provider's own, without keys; may be empty.
    """

    def __init__(self, reason: str, retry_after: float | None = None, words: str = "") -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.words = words


class RateLimited(TransientError):
    """The endpoint received too many requests (429)."""


class RequestRejected(Exception):
    """The endpoint will never answer this question (too long, content policy, ...)."""


class TeacherUnavailable(Exception):
    """The endpoint will answer no question: no key, no such model, no credit."""


@dataclass(frozen=True)
class Refusal:
    """A response that is not an answer.

    Attributes:
        status: The HTTP status; in a 200, the one that the body stands for, or None.
        body: As text.
        in_success: Whether it came with status 200.
    """

    status: int | None
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    in_success: bool = False

    @property
    def value(self) -> Any:
        """The body as JSON, None where it is not."""
        return read_json_text(self.body)

    def words(self) -> str:
        """Returns the provider's own words in one line, shortened, secrets included."""
        text = " ".join(readable_words(self.body).split())
        return text[:_SHOWN_CHARACTERS]

    def everything(self) -> str:
        """Returns in small letters all that the body says, less what it repeats of the request."""
        value = self.value
        text = self.body if value is None else "\n".join(_strings(value))
        return text[:_READ_CHARACTERS].lower()

    def codes(self) -> str:
        """Returns the body's codes and types, in small letters."""
        return "\n".join(_found(self.value, _CODES)).lower()

    def retry_after(self) -> float | None:
        """Returns the seconds that the response asks to wait, None where it says nothing."""
        wait = _from_headers(self.headers)
        return wait if wait is not None else _from_body(self.value, self.body[:_READ_CHARACTERS])


def read_json_text(text: str) -> Any:
    """Returns a JSON value, None for a text that is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def status_inside(body: str) -> int | None:
    """Returns the HTTP status that an error in a 200 stands for, None where it cannot be told."""
    value = read_json_text(body)
    codes = list(_found(value, _CODES))
    for code in codes:
        if code.isascii() and code.isdigit() and len(code) == 3 and "400" <= code <= "599":
            return int(code)
    if body.lstrip().startswith("<"):
        # What a page says in passing means nothing.
        return 429 if _MEANINGS[1][1].search(readable_words(body).lower()) else None
    said = [*codes, readable_words(body)]
    for text in said:
        for status, meaning in _MEANINGS:
            if meaning.search(text[:_READ_CHARACTERS].lower()):
                return status
    return None


def readable_words(body: str) -> str:
    """Returns what a person would read in a body: messages of JSON, the text of a page, or all."""
    body = body.strip()
    value = read_json_text(body)
    if isinstance(value, dict | list):
        found = list(dict.fromkeys(text for text in _found(value, _MESSAGES) if text.strip()))
        return "; ".join(found[:4]) or body[:_READ_CHARACTERS]
    if isinstance(value, str):
        return value
    if body.startswith("<"):
        return unescape(_TAG.sub(" ", _without_programs(body[:_READ_CHARACTERS])))
    return body[:_READ_CHARACTERS]


def _without_programs(page: str) -> str:
    """Returns a page without what stands in its `script` and `style` elements."""
    for name in ("script", "style"):
        head, *rest = re.split(f"<{name}", page, flags=re.IGNORECASE)
        page = head + "".join(
            re.split(f"</{name}[^<>]{{0,9}}>", each, flags=re.IGNORECASE)[-1] for each in rest
        )
    return page


def _found(value: Any, names: tuple[str, ...], depth: int = 0) -> Iterator[str]:
    """Yields texts and numbers in the fields of these names, outer ones first, names in order."""
    if depth > 8:
        return
    if isinstance(value, list):
        for each in value[:20]:
            if isinstance(each, str) and depth and "msg" in names:
                yield each
            yield from _found(each, names, depth + 1)
    if not isinstance(value, dict):
        return
    lower = {str(key).lower(): part for key, part in value.items()}
    for name in names:
        part = lower.get(name)
        inner = read_json_text(part) if isinstance(part, str) and part[:1] in "{[" else None
        if isinstance(inner, dict | list):
            yield from _found(inner, names, depth + 1)
        elif isinstance(part, str) or (isinstance(part, int) and not isinstance(part, bool)):
            yield str(part)
    for key, part in lower.items():
        if key not in _ECHOES:
            yield from _found(part, names, depth + 1)


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    """Yields all names and texts of a JSON value but those that repeat the request."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and depth < 20:
        for each in value:
            yield from _strings(each, depth + 1)
    elif isinstance(value, dict) and depth < 20:
        for key, part in value.items():
            # In `loc`, pydantic's path to a field, `body` is a value and stays.
            if str(key).lower() not in _ECHOES:
                yield str(key)
                yield from _strings(part, depth + 1)


def _from_headers(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds to wait: a number, milliseconds or a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (seconds := _seconds(headers.get(name), unit)) is not None:
            return seconds
    try:
        until = parsedate_to_datetime(headers["retry-after"])
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def _from_body(value: Any, text: str) -> float | None:
    for name, unit in _WAIT_KEYS.items():
        for given in _named(value, name):
            if (seconds := _seconds(given, unit)) is not None:
                return seconds
    if (found := _WAIT_WORDS.search(text)) is not None:
        return _seconds(found[1], 1.0)
    return None


def _named(value: Any, name: str, depth: int = 0) -> Iterator[Any]:
    """Yields the values of all fields of a name, however it is spelled."""
    if depth > 8:
        return
    if isinstance(value, list):
        for each in value[:20]:
            yield from _named(each, name, depth + 1)
    if isinstance(value, dict):
        for key, part in value.items():
            if re.sub(r"[-_]", "", str(key).lower()) == name:
                yield part
            yield from _named(part, name, depth + 1)


def _seconds(given: Any, unit: float) -> float | None:
    """Returns a duration in seconds: a number in `unit`, or text such as `1m30s`."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    try:
        seconds = float(given) * unit
    except (ValueError, OverflowError):
        parts = _DURATION.findall(str(given)[:100])
        if not parts or not re.match(r"\d", str(given)) or "," in str(given):
            return None
        seconds = sum(float(number) * _UNITS[name.lower()] for number, name in parts)
    return max(0.0, seconds) if math.isfinite(seconds) else None
