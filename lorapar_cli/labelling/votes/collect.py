"""Asks the questions of a ballot that have no answer yet: rules, local models, endpoints."""

import time
from collections.abc import Iterator

from lorapar_cli.events import Advance, Progress
from lorapar_cli.labelling.teachers.client import Reply
from lorapar_cli.labelling.teachers.dispatch import OnAnswer, Question, RequestPolicy, ask_all
from lorapar_cli.labelling.teachers.local_model import BATCH, LocalTeacher
from lorapar_cli.labelling.teachers.rules import RULES
from lorapar_cli.labelling.teachers.tally import TeacherStats
from lorapar_cli.labelling.votes.journal import Answer, Journal
from lorapar_cli.labelling.votes.journal_index import answer_code
from lorapar_cli.labelling.votes.vote_table import VoteTable
from lorapar_cli.labelling.votes.voting import CODES
from lorapar_cli.names import System

_AT_ONCE = 1000


def collect_votes(
    vote_table: VoteTable,
    journal: Journal,
    policy: RequestPolicy,
    economy_ties_to: int | None,
    trust_remote_code: bool,
    progress: Progress,
) -> None:
    """Asks every question without an answer; the ballot's tallies hold what went wrong.

    Args:
        economy_ties_to: Where a record's label is settled whatever the others say, ask them
            nothing; a tie counts as this system. None asks everybody everything.
    """
    for phase in _phases(vote_table, economy_ties_to is not None):
        if economy_ties_to is not None:
            vote_table.close_decided(economy_ties_to)
        rules, endpoints = [], []
        for column in phase:
            teacher = vote_table.teachers[column]
            stats = TeacherStats(teacher, vote_table.count_waiting(column))
            vote_table.stats[teacher.name] = stats
            if stats.total == 0:
                continue
            if teacher.kind == "rule":
                rules.append(column)
            elif teacher.kind == "hf":
                _ask_local(vote_table, column, journal, trust_remote_code, progress)
            else:
                on_answer = _recorder(vote_table, column, journal)
                endpoints.append((stats, _questions(vote_table, column), on_answer))
        if rules:
            _ask_rules(vote_table, rules, journal, progress)
        if endpoints:
            ask_all(endpoints, policy, vote_table.spent(), progress)
    if economy_ties_to is not None:
        vote_table.close_decided(economy_ties_to)


def _phases(vote_table: VoteTable, in_turn: bool) -> list[list[int]]:
    """Returns the columns that are asked at the same time: rules, then local models one by one,
    since they cost nothing, then all endpoints together.

    In turn, no label is settled before half of the teachers were asked: up to that number
    endpoints go together, the others one after the other.
    """
    kinds = [teacher.kind for teacher in vote_table.teachers]
    rules = [column for column, kind in enumerate(kinds) if kind == "rule"]
    here = [rules, *([column] for column, kind in enumerate(kinds) if kind == "hf")]
    apis = [column for column, kind in enumerate(kinds) if kind == "api"]
    together = len(apis)
    if in_turn:
        together = min(len(apis), max(0, (len(kinds) + 1) // 2 - sum(map(len, here))))
    groups = [apis[:together], *([column] for column in apis[together:])]
    return [group for group in here + groups if group]


def _questions(vote_table: VoteTable, column: int) -> Iterator[Question]:
    waiting = vote_table.waiting(column)
    wanted = next(waiting, None)
    for number, record in enumerate(vote_table.index.records()):
        if wanted is None:
            return
        if number == wanted[0]:
            yield Question(
                number,
                record.id,
                bool(wanted[1]),
                lambda second_attempt, record=record: vote_table.prompt.messages(
                    record, second_attempt
                ),
            )
            wanted = next(waiting, None)


def _recorder(vote_table: VoteTable, column: int, journal: Journal) -> OnAnswer:
    """Returns what writes an answer to the journal and the ballot."""
    teacher = vote_table.teachers[column]

    def record(
        question: Question,
        reply: Reply,
        vote: System | None,
        final: bool,
        seconds: float,
        cost: float | None,
    ) -> None:
        number = question.index
        answer = Answer(
            vote_table.key(column, number),
            teacher.name,
            teacher.model,
            question.id,
            vote,
            reply.text,
            final,
            reply.prompt_tokens,
            reply.completion_tokens,
            round(seconds, 3),
            cost,
            reply.estimated or None,
            teacher.max_tokens if reply.cut and vote is None else None,
        )
        offset = journal.append(answer)
        code = answer_code(vote, final, answer.cut_at)
        vote_table.fill_in(column, iter([(code, offset, number)]))

    return record


def _ask_rules(
    vote_table: VoteTable, columns: list[int], journal: Journal, progress: Progress
) -> None:
    """Asks all rules in one reading of the data."""
    asked = [
        (column, vote_table.teachers[column], vote_table.waiting(column)) for column in columns
    ]
    wanted = {column: next(waiting, None) for column, _, waiting in asked}
    answers: dict[int, list[tuple[int, int, int]]] = {column: [] for column in columns}
    total = len(vote_table.index)
    for number, record in enumerate(vote_table.index.records()):
        for column, teacher, waiting in asked:
            if wanted[column] is None or wanted[column][0] != number:
                continue
            wanted[column] = next(waiting, None)
            vote, reason = RULES[teacher.name][1](record)
            key = vote_table.key(column, number)
            answer = Answer(key, teacher.name, teacher.model, record.id, vote, reason)
            answers[column].append((CODES[vote], journal.append(answer), number))
            vote_table.stats[teacher.name].done += 1
        if (number + 1) % _AT_ONCE == 0 or number + 1 == total:
            progress(Advance("rules", number + 1, total))
            for column, answered in answers.items():
                vote_table.fill_in(column, iter(answered))
                answered.clear()


def _ask_local(
    vote_table: VoteTable,
    column: int,
    journal: Journal,
    trust_remote_code: bool,
    progress: Progress,
) -> None:

    teacher = vote_table.teachers[column]
    stats = vote_table.stats[teacher.name]
    model = LocalTeacher(teacher, trust_remote_code)
    record = _recorder(vote_table, column, journal)
    batch: list[tuple[Question, bool]] = []

    def flush() -> list[tuple[Question, bool]]:
        started = time.monotonic()
        replies = model.answer([question.messages(again) for question, again in batch])
        seconds = (time.monotonic() - started) / len(batch)
        repeat = []
        for (question, again), reply in zip(batch, replies, strict=True):
            stats.requests += 1
            if reply is None:
                stats.rejected += 1
                stats.left_open += 1
                stats.last_rejection = "the prompt is longer than the model can read"
                continue
            vote = reply.label()
            final = again or vote is not None
            record(question, reply, vote, final, seconds, 0.0)
            stats.prompt_tokens += reply.prompt_tokens or 0
            stats.completion_tokens += reply.completion_tokens or 0
            stats.done += final
            stats.no_vote += final and vote is None
            if not final:
                repeat.append((question, True))
        progress(Advance(teacher.name, stats.done, stats.total))
        return repeat

    for question in _questions(vote_table, column):
        batch.append((question, question.second_attempt))
        if len(batch) >= BATCH:
            batch = flush()
    while batch:
        batch = flush()
