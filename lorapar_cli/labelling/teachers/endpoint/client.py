"""Client of one OpenAI-compatible endpoint: a chat in, a reply or one of four failures out.

The SDK's own retries are off: it waits at most 8 seconds and gives up on long Retry-After headers.
`labelling.teachers.dispatch` waits and retries.
"""

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.teachers.endpoint.address import address_remedy, lacks_version
from lorapar_cli.labelling.teachers.endpoint.dialect import (
    Dialect,
    failed_once,
    may_refuse_format,
    next_weaker,
    refuses_format,
)
from lorapar_cli.labelling.teachers.endpoint.refusals import (
    RateLimited,
    Refusal,
    RequestRejected,
    TeacherUnavailable,
    TransientError,
)
from lorapar_cli.labelling.teachers.endpoint.reply import Reply, read_reply
from lorapar_cli.labelling.teachers.teacher import Structured, Teacher
from lorapar_cli.store.records import Message
from lorapar_cli.text_safety import redact, remove_secret

_NO_CREDIT, _TOO_MANY, _OVERLOADED = 402, 429, 529
_NO_CREDIT_CODES = ("insufficient_quota", "insufficient_balance", "arrearage")
_BAD_KEY = ("invalid_api_key", "api_key_invalid", "incorrect api key", "api key not valid")


class ChatClient:
    """Asks one teacher over HTTP.

    Args:
        timeout: Timeout of a request in seconds.
        connections: Maximum number of open connections.
        dialect: What is known of the endpoint; kept up to date.

    Raises:
        LoraparError: A proxy that the environment names cannot be used.
    """

    def __init__(
        self, teacher: Teacher, timeout: float, connections: int, dialect: Dialect
    ) -> None:
        import httpx2
        import openai

        self._openai, self._response_type = openai, httpx2.Response
        self._teacher, self._dialect = teacher, dialect
        self._key = teacher.key()
        self._url = teacher.base_url or ""
        self._answered = False
        limits = httpx2.Limits(
            max_connections=connections + 1, max_keepalive_connections=connections + 1
        )
        try:
            http_client = openai.DefaultAsyncHttpxClient(limits=limits)
        except (ValueError, ImportError, httpx2.InvalidURL):
            # Its message repeats the address of the proxy, password included.
            raise LoraparError(
                "the proxy that the environment names cannot be used",
                hint="correct `HTTP_PROXY`, `HTTPS_PROXY` or `ALL_PROXY`, for example "
                "`http://host:port`",
            ) from None
        self._client = openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url=teacher.base_url,
            default_headers=_default_headers(openai, self._url),
            max_retries=0,
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 30.0)),
            http_client=http_client,
        )
        self._timeout = timeout

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def ask(self, messages: list[Message]) -> Reply:
        """Returns the endpoint's reply to one chat.

        What the endpoint does not support is left out of the request until it answers, and of all
        later ones: a schema gives way to JSON mode, JSON mode to plain words.

        Raises:
            RateLimited, TransientError, RequestRejected, TeacherUnavailable: It did not answer;
                the texts contain no key.
        """
        dialect = self._dialect
        structured = dialect.structured(self._teacher.structured)
        guessed: set[Structured] = set()
        refused: Refusal | None = None
        while True:
            request = dialect.request(self._teacher, messages, structured)
            answer = await self._post(request)
            if isinstance(answer, Reply):
                break
            refused = refused or answer
            weaker = next_weaker(structured)
            if structured != "none" and failed_once(answer):
                structured = "none"
            elif structured != "none" and refuses_format(answer) and _is_refusal(answer):
                dialect.unsupported.add(structured)
                structured = dialect.structured(weaker)
            elif _is_refusal(answer) and dialect.adapt(answer, request):
                continue
            elif (
                structured != "none"
                and structured not in dialect.proven
                and may_refuse_format(answer)
            ):
                guessed.add(structured)
                structured = dialect.structured(weaker)
            else:
                # Where leaving the format out helped nothing, the first words are the true ones.
                raise self._meaning(refused if guessed else answer)
        self._answered = True
        dialect.proven.add(structured)
        # Meanwhile another request may have been answered in the format that seemed refused.
        dialect.unsupported |= guessed - dialect.proven
        return replace(answer, text=remove_secret(answer.text, self._key or ""))

    async def _post(self, request: dict[str, Any]) -> Reply | Refusal:
        """Returns the answer to a request, or what the endpoint says instead.

        Raises:
            TransientError: The endpoint says nothing that can be read.
        """
        openai = self._openai
        try:
            # The client's own timeout applies to each read: a slow drip would never end.
            async with asyncio.timeout(self._timeout):
                # Not `chat.completions.create`: building its typed objects takes as much time as
                # everything else, and what providers send does not always fit them.
                response = await self._client.post(
                    "/chat/completions", cast_to=self._response_type, body=request
                )
        except openai.APIStatusError as cause:
            response = cause.response
            body = response.content.decode("utf-8", errors="replace")
            return Refusal(cause.status_code, body, response.headers)
        except (openai.APITimeoutError, TimeoutError):
            raise TransientError("no answer within the timeout") from None
        except openai.APIConnectionError as cause:
            reason = type(cause.__cause__ or cause).__name__
            raise TransientError(f"the connection to `{self._url}` failed ({reason})") from None
        except openai.APIError:
            raise TransientError("unreadable answer") from None
        return read_reply(response.content, response.headers)

    def _meaning(self, refusal: Refusal) -> Exception:
        """Returns the failure that a refusal stands for; its texts contain no key."""
        status, said = refusal.status, refusal.everything()
        page = refusal.body.lstrip().startswith("<")
        if status == _NO_CREDIT or (
            status == _TOO_MANY and any(code in said for code in _NO_CREDIT_CODES)
        ):
            return TeacherUnavailable(self._explain("out of credit", refusal))
        if status == _TOO_MANY:
            reason = _with_status("too many requests", refusal)
            return RateLimited(reason, refusal.retry_after(), self._words(refusal))
        if status in (401, 403) or (status == 400 and any(code in said for code in _BAD_KEY)):
            return TeacherUnavailable(self._explain("the key was not accepted", refusal))
        if status in (404, 405) or (status == 501 and page) or "api-version" in said:
            return TeacherUnavailable(self._not_found(refusal, page))
        if status is None:
            return self._no_answer(refusal, page)
        if status in (408, 409, _OVERLOADED) or status >= 500:
            reason = f"server error {status}" + (" in a 200" if refusal.in_success else "")
            return TransientError(reason, refusal.retry_after(), self._words(refusal))
        return RequestRejected(self._explain("rejected", refusal))

    def _no_answer(self, refusal: Refusal, page: bool) -> Exception:
        """Returns what a 200 means that holds no answer and stands for no status."""
        if not page:
            return TransientError("no answer in a 200", refusal.retry_after(), self._words(refusal))
        reason = "a web page instead of an answer"
        if lacks_version(self._url) and not self._answered:
            return TeacherUnavailable(
                f"{reason}: {self._words(refusal)}; {address_remedy(self._url)}"
            )
        words = f"{self._words(refusal)}; is `{self._url}` the right address?"
        return TransientError(reason, refusal.retry_after(), words)

    def _not_found(self, refusal: Refusal, page: bool) -> str:
        said = refusal.everything()
        names_model = self._teacher.model.lower() in said or "model" in said
        if names_model and not page and "api-version" not in said:
            return self._explain(f"no such model, `{self._teacher.model}`", refusal)
        reason = self._explain("no such address", refusal)
        return f"{reason}; {address_remedy(self._url, said)}"

    def _explain(self, reason: str, refusal: Refusal) -> str:
        """Returns a reason with the status and the provider's words."""
        words = self._words(refusal)
        return _with_status(reason, refusal) + (f": {words}" if words else "")

    def _words(self, refusal: Refusal) -> str:
        return redact(refusal.words(), [self._key] if self._key else [])


def _with_status(reason: str, refusal: Refusal) -> str:
    return f"{reason} ({refusal.status}{' in a 200' if refusal.in_success else ''})"


def _is_refusal(answer: Refusal) -> bool:
    """Returns whether a response may be about the request, and not about key, money or load."""
    return answer.status not in (401, _NO_CREDIT, 403, 408, 409, _TOO_MANY, 503, _OVERLOADED)


def _default_headers(openai: Any, base_url: str) -> dict[str, Any]:
    """Hides the user's OpenAI organisation and project from other providers."""
    if urlsplit(base_url).hostname == "api.openai.com":
        return {}
    return {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}


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
