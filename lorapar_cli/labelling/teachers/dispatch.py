"""Asks several teachers many questions at once, each as fast as its endpoint allows.

Each teacher has its own adaptive number of concurrent requests: halved when the endpoint answers
429, raised by one for each round of answers. A Retry-After pauses the whole teacher for as long as
it says. Other failures are retried after exponential waits with jitter.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from lorapar_cli.events import Advance, Progress
from lorapar_cli.labelling.teachers.endpoint.client import ChatClient
from lorapar_cli.labelling.teachers.endpoint.dialect import Dialect, Dialects
from lorapar_cli.labelling.teachers.endpoint.refusals import (
    RateLimited,
    RequestRejected,
    TeacherUnavailable,
    TransientError,
)
from lorapar_cli.labelling.teachers.endpoint.reply import Reply
from lorapar_cli.labelling.teachers.rate_limit import REAL_TIME, Budget, Clock, ConcurrencyLimit
from lorapar_cli.labelling.teachers.tally import TeacherStats, format_duration
from lorapar_cli.names import System
from lorapar_cli.plurals import counted
from lorapar_cli.store.records import Message
from lorapar_cli.waiting import run_to_end

_FIRST_WAIT = 0.5
_MAX_WAIT = 60.0
_BYTES_PER_TOKEN = 4
_YIELD_EVERY = 200
_MAX_CONSECUTIVE_REJECTIONS = 20
_REPORT_SECONDS = 5.0
# A server that says when to come back is alive, so that counts little; but not for ever.
_RETRY_AFTER_WEIGHT = 0.1


@dataclass(frozen=True)
class RequestPolicy:
    """How teachers are asked.

    Attributes:
        concurrency: Maximum number of concurrent requests to each teacher.
        timeout: Timeout of a request in seconds.
        retries: How often a failed question is retried.
        max_cost: US dollars that all answers may cost, or None for no limit.
    """

    concurrency: int
    timeout: float
    retries: int
    max_cost: float | None = None
    clock: Clock = REAL_TIME


@dataclass(frozen=True)
class Question:
    """One record for one teacher.

    Attributes:
        index: The record's number.
        second_attempt: The first answer held no label; this is the second and last attempt.
        messages: Renders the chat of the first or the second attempt.
    """

    index: int
    id: str
    second_attempt: bool
    messages: Callable[[bool], list[Message]]


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question with the reply to it.

    Attributes:
        label: The system that the reply names, or None.
        final: Whether the question is not asked again.
        seconds: From sending the request to the end of the reply.
        cost: US dollars; None where the price is unknown.
    """

    question: Question
    reply: Reply
    label: System | None
    final: bool
    seconds: float
    cost: float | None


OnAnswer = Callable[[AnsweredQuestion], None]


class _OverBudget(Exception):
    """The next request might exceed `max_cost`."""


class TeacherQueue:
    """One teacher's questions, asked until all are answered or the teacher is down.

    Args:
        stats: Kept up to date.
        questions: In order; read only as fast as they are asked.
        on_answer: Called with every reply.
        budget: Shared by all teachers.
        dialect: Shared by all teachers of one endpoint and model.
    """

    def __init__(
        self,
        stats: TeacherStats,
        questions: Iterator[Question],
        on_answer: OnAnswer,
        policy: RequestPolicy,
        budget: Budget,
        dialect: Dialect,
        progress: Progress,
    ) -> None:
        self.stats, self.teacher = stats, stats.teacher
        self._questions, self._on_answer = questions, on_answer
        self._policy, self._clock, self._budget = policy, policy.clock, budget
        self._progress = progress
        self._halt = asyncio.Event()
        self._error: BaseException | None = None
        self._limit = ConcurrencyLimit(policy.concurrency, policy.clock, self._halt)
        self._dialect = dialect
        self._client = ChatClient(
            stats.teacher, policy.timeout / policy.clock.speed, policy.concurrency, dialect
        )
        self._started = self._clock.now()

    async def run(self) -> None:
        """Asks every question; returns when all are answered or the teacher is down."""
        tasks: set[asyncio.Task[None]] = set()
        # As many may wait for their retry as may be in flight, so that failures block nobody.
        places = asyncio.Semaphore(2 * self._policy.concurrency)
        reporter = asyncio.create_task(self._report_regularly())

        def ended(task: asyncio.Task[None]) -> None:
            places.release()
            tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._error = self._error or error
                self._halt.set()

        try:
            for count, question in enumerate(self._questions):
                await places.acquire()
                if self._halt.is_set():
                    break
                task = asyncio.create_task(self._ask(question))
                tasks.add(task)
                task.add_done_callback(ended)
                if count % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
            while tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._error is not None:
                raise self._error
        finally:
            for task in (reporter, *tasks):
                task.cancel()
            await asyncio.gather(reporter, *tasks, return_exceptions=True)
            await self._client.close()

    def _give_up(self, reason: str) -> None:
        """Asks this teacher nothing more; requests in flight are awaited."""
        self.stats.down = self.stats.down or reason
        self._halt.set()

    async def _ask(self, question: Question) -> None:
        asked_since, second_attempt = self._clock.now(), question.second_attempt
        tries, failures = 0, 0.0
        while not self._halt.is_set():
            await self._limit.enter()
            if self._halt.is_set():
                self._limit.leave()
                break
            wait = None
            started = self._clock.now()
            try:
                async with self._dialect.exploring(self.teacher):
                    final = await self._once(question, second_attempt)
            except TransientError as cause:
                wait = _retry_wait(failures, cause.retry_after)
                if isinstance(cause, RateLimited) or cause.retry_after:
                    self._limit.slow_down(started, cause.retry_after or 0.0)
                self.stats.rate_limited += isinstance(cause, RateLimited)
                failures += _RETRY_AFTER_WEIGHT if cause.retry_after else 1
                reason, words = str(cause), cause.words
            except RequestRejected as cause:
                self._reject(str(cause))
                return
            except TeacherUnavailable as cause:
                self._give_up(str(cause))
                break
            except _OverBudget:
                self.stats.over_budget = True
                self._halt.set()
                break
            finally:
                self._limit.leave()
            if wait is None:
                if final:
                    return
                tries, failures, second_attempt = 0, 0.0, True
                continue
            tries += 1
            if failures > self._policy.retries:
                # Without any answer since, the teacher has failed, else only this question.
                if self.stats.last_success < asked_since:
                    said = f": {words}" if words else ""
                    self._give_up(f"{reason}, {counted(tries, 'time')} in a row{said}")
                break
            self.stats.retries += 1
            await self._clock.sleep(wait, self._halt)
        self.stats.left_open += 1

    async def _once(self, question: Question, second_attempt: bool) -> bool:
        """Asks once; returns whether the question is not to be asked again."""
        messages = question.messages(second_attempt)
        reserved = self._highest_cost(messages)
        if not await self._budget.reserve(reserved):
            raise _OverBudget
        cost = 0.0
        started = self._clock.now()
        try:
            self.stats.requests += 1
            reply = await self._client.ask(messages)
            reply = self._counted(reply, messages)
            cost = self._book(reply)
        finally:
            self._budget.settle(reserved, cost)
        seconds = self._clock.now() - started
        self._limit.succeeded()
        self.stats.last_success = self._clock.now()
        self.stats.rejected_in_a_row = 0
        self.stats.worded += bool(reply.text.strip())
        label = reply.label()
        final = label is not None or second_attempt
        known_cost = cost if self.teacher.price else None
        self._on_answer(AnsweredQuestion(question, reply, label, final, seconds, known_cost))
        if final:
            self.stats.done += 1
            self.stats.no_vote += label is None
            self._report()
        return final

    def _report(self) -> None:
        stats = self.stats
        pause = self._limit.pause()
        remark = f"waiting {format_duration(pause)}" if pause >= 1 else ""
        figures = stats.figures(self._clock.now() - self._started)
        self._progress(Advance(stats.teacher.name, stats.done, stats.total, figures, remark))

    async def _report_regularly(self) -> None:
        """Updates the display while no answer arrives."""
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            self._report()

    def _highest_cost(self, messages: list[Message]) -> float:
        """Returns an upper bound in US dollars: a token is at least one byte of the prompt."""
        if self.teacher.price is None:
            return 0.0
        size = sum(len(message["content"].encode()) + 16 for message in messages)
        return self.teacher.price.of(size, self.teacher.max_tokens)

    def _counted(self, reply: Reply, messages: list[Message]) -> Reply:
        """Returns the reply, its numbers of tokens estimated if the endpoint reports none."""
        if reply.prompt_tokens is not None and reply.completion_tokens is not None:
            return reply
        return replace(
            reply,
            prompt_tokens=estimate_tokens(messages),
            completion_tokens=len(reply.text.encode(errors="replace")) // _BYTES_PER_TOKEN,
            estimated=True,
        )

    def _book(self, reply: Reply) -> float:
        """Adds a reply's tokens and cost to the totals; returns the cost, 0 without a price."""
        prompt, completion = reply.prompt_tokens or 0, reply.completion_tokens or 0
        self.stats.estimated += reply.estimated
        self.stats.prompt_tokens += prompt
        self.stats.completion_tokens += completion
        cost = self.teacher.price.of(prompt, completion) if self.teacher.price else 0.0
        self.stats.cost += cost
        return cost

    def _reject(self, reason: str) -> None:
        """Counts a rejected question; an endpoint that rejects one after the other is down."""
        self.stats.rejected += 1
        self.stats.rejected_in_a_row += 1
        self.stats.left_open += 1
        self.stats.last_rejection = reason
        if self.stats.rejected_in_a_row >= _MAX_CONSECUTIVE_REJECTIONS:
            self._give_up(reason)


def _retry_wait(failures: float, retry_after: float | None) -> float:
    """Returns the seconds to wait before a retry, with jitter."""
    if retry_after:
        return retry_after + random.uniform(0, 0.1)
    longest = min(_MAX_WAIT, _FIRST_WAIT * 2.0**failures)
    return random.uniform(longest / 2, longest)


def estimate_tokens(messages: list[Message]) -> int:
    """Returns about how many tokens a chat has: a quarter of its bytes."""
    return sum(len(message["content"].encode()) + 16 for message in messages) // _BYTES_PER_TOKEN


def ask_all(
    queues: list[tuple[TeacherStats, Iterator[Question], OnAnswer]],
    policy: RequestPolicy,
    spent: float,
    dialects: Dialects,
    progress: Progress,
) -> None:
    """Asks all teachers their questions at the same time; their stats say what became of them.

    Args:
        dialects: What is known of the endpoints; kept up to date.
        spent: US dollars that earlier answers to these questions cost, counted into `max_cost`.
    """

    async def ask_every_teacher() -> None:
        budget = Budget(policy.max_cost, spent)
        running = [
            TeacherQueue(
                stats,
                questions,
                on_answer,
                policy,
                budget,
                dialects.of(stats.teacher),
                progress,
            )
            for stats, questions, on_answer in queues
        ]
        await asyncio.gather(*(queue.run() for queue in running))

    run_to_end(ask_every_teacher())
