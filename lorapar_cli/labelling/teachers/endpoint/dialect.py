"""Which parts of a request an endpoint does not support, found out once for all who ask it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from lorapar_cli.labelling.teachers.endpoint.refusals import Refusal
from lorapar_cli.labelling.teachers.label_prompt import SCHEMA
from lorapar_cli.labelling.teachers.teacher import STRUCTURED, Structured, Teacher
from lorapar_cli.store.records import Message

# How providers name structured output when they refuse it.
_FORMAT_WORDS = (
    *("response_format", "response format", "responseformat", "schema", "structured output"),
    *("structured_output", "structuredoutput", "json_object", "json mode", "json_mode"),
    *("guided", "grammar", "constrained decoding", "failed to generate json"),
)
# A router finds no provider for the parameters of a request, and does not say which.
_UNROUTABLE = ("requested parameters", "required parameters", "support the parameters")
# The model did not manage it this time: nothing about the endpoint.
_FAILED_ONCE = ("json_validate_failed", "failed to generate json")
_NO_SYSTEM_ROLE = ("developer instruction", "system instruction")
# Statuses that a server may give a format it does not know, without a word about it.
_UNSPECIFIC = (400, 422, 500, 501)


@dataclass
class Dialect:
    """What is known of an endpoint and model. Shared by all teachers that use it.

    Attributes:
        unsupported: Kinds of structured output that it refuses.
        proven: Kinds with which it has answered.
    """

    unsupported: set[Structured] = field(default_factory=set)
    proven: set[Structured] = field(default_factory=set)
    takes_temperature: bool = True
    tokens_field: str = "max_tokens"
    has_system_role: bool = True
    _begun: bool = False
    _explored: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def exploring(self, teacher: Teacher) -> AsyncIterator[None]:
        """Holds all requests back until the first one has ended, however it ends.

        So that one request, not each of those that start together, finds out what is supported.
        """
        if teacher.structured == "none" and teacher.temperature is None:
            yield
        elif self._begun:
            await self._explored.wait()
            yield
        else:
            self._begun = True
            try:
                yield
            finally:
                self._explored.set()

    def structured(self, wanted: Structured) -> Structured:
        """Returns the kind to ask for: the wanted one, or the next weaker one that is supported."""
        kinds = STRUCTURED[STRUCTURED.index(wanted) :]
        return next((kind for kind in kinds if kind not in self.unsupported), "none")

    def request(
        self, teacher: Teacher, messages: list[Message], structured: Structured
    ) -> dict[str, Any]:
        """Returns the body of a request."""
        request: dict[str, Any] = {
            "model": teacher.model,
            "messages": messages if self.has_system_role else _without_system(messages),
            self.tokens_field: teacher.max_tokens,
        }
        if teacher.temperature is not None and self.takes_temperature:
            request["temperature"] = teacher.temperature
        if structured == "json_schema":
            schema = {"name": "label", "schema": SCHEMA, "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif structured == "json_object":
            request["response_format"] = {"type": "json_object"}
        return request

    def adapt(self, refusal: Refusal, request: dict[str, Any]) -> bool:
        """Notes the part of a request that was refused by name; False if none was.

        The request itself decides: others were in flight with the same part, and their refusals
        arrive after it was noted.
        """
        said = refusal.everything()
        head = request["messages"][0]["role"]
        if "temperature" in request and "temperature" in said:
            self.takes_temperature = False
        elif "max_tokens" in request and "max_completion_tokens" in said:
            self.tokens_field = "max_completion_tokens"
        elif head == "system" and (
            ("system" in said and "role" in said) or any(words in said for words in _NO_SYSTEM_ROLE)
        ):
            self.has_system_role = False
        else:
            return False
        return True


def next_weaker(structured: Structured) -> Structured:
    """Returns the kind of structured output to try when this one is refused."""
    return STRUCTURED[min(STRUCTURED.index(structured) + 1, len(STRUCTURED) - 1)]


def refuses_format(refusal: Refusal) -> bool:
    """Returns whether a provider's words are about structured output."""
    said = refusal.everything()
    words = (*_FORMAT_WORDS, *(_UNROUTABLE if refusal.status == 404 else ()))
    return any(each in said for each in words)


def may_refuse_format(refusal: Refusal) -> bool:
    """Returns whether a status without a word about structured output may yet be due to it."""
    return refusal.status in _UNSPECIFIC


def failed_once(refusal: Refusal) -> bool:
    """Returns whether only this answer did not come out as asked for."""
    said = refusal.everything()
    return any(words in said for words in _FAILED_ONCE)


def _without_system(messages: list[Message]) -> list[Message]:
    """Moves the system message into the user's, for models without a system role."""
    head, *rest = messages
    if head["role"] != "system" or not rest:
        return messages
    return [rest[0] | {"content": f"{head['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


class Dialects:
    """The dialects of all endpoints of a run."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Dialect] = {}

    def of(self, teacher: Teacher) -> Dialect:
        """Returns the dialect of a teacher's address and model."""
        key = ((teacher.base_url or "").rstrip("/"), teacher.model)
        return self._known.setdefault(key, Dialect())
