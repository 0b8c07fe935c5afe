"""Collects the missing votes of a vote table: asks rules, local models and endpoints."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice

from lorapar_cli.events import Advance, Progress
from lorapar_cli.labelling.teachers.dispatch import (
    AnsweredQuestion,
    OnAnswer,
    Question,
    RequestPolicy,
    ask_all,
)
from lorapar_cli.labelling.teachers.endpoint.dialect import Dialects
from lorapar_cli.labelling.teachers.local_model import BATCH, LocalTeacher
from lorapar_cli.labelling.teachers.rules import RULES
from lorapar_cli.labelling.teachers.student import STUDENT_BATCH, StudentVoter
from lorapar_cli.labelling.teachers.tally import TeacherStats
from lorapar_cli.labelling.votes.journal import Answer, Journal
from lorapar_cli.labelling.votes.journal_index import answer_code
from lorapar_cli.labelling.votes.vote_table import VoteTable
from lorapar_cli.labelling.votes.voting import CODES

_RULE_BATCH = 1000


def collect_votes(
    vote_table: VoteTable,
    journal: Journal,
    policy: RequestPolicy,
    economy_ties_to: int | None,
    trust_remote_code: bool,
    student_chain: bool,
    progress: Progress,
) -> None:
    """Asks every unanswered question; `vote_table.stats` tells which stayed unanswered.

    Args:
        economy_ties_to: Nothing more is asked about a record whose label is decided, where a tie
            counts as this system. None asks every teacher about every record.
    """
    dialects = Dialects()
    for phase in _phases(vote_table, economy_ties_to is not None):
        if economy_ties_to is not None:
            vote_table.close_decided(economy_ties_to)
        rules, queues = [], []
        for column in phase:
            teacher = vote_table.teachers[column]
            stats = TeacherStats(teacher, vote_table.count_waiting(column))
            vote_table.stats[teacher.name] = stats
            if stats.total == 0:
                continue
            on_answer = _recorder(vote_table, column, journal)
            if teacher.kind == "rule":
                rules.append(column)
            elif teacher.kind == "student":
                voter = StudentVoter(teacher, student_chain, trust_remote_code)
                _ask_student(voter, vote_table, column, journal, progress)
            elif teacher.kind == "hf":
                model = LocalTeacher(teacher, trust_remote_code)
                _ask_local(model, stats, _questions(vote_table, column), on_answer, progress)
            else:
                queues.append((stats, _questions(vote_table, column), on_answer))
        if rules:
            _ask_rules(vote_table, rules, journal, progress)
        if queues:
            ask_all(queues, policy, vote_table.spent(), dialects, progress)
    if economy_ties_to is not None:
        vote_table.close_decided(economy_ties_to)


def _phases(vote_table: VoteTable, economy: bool) -> list[list[int]]:
    """Returns groups of columns that are asked at the same time.

    Rules first, then local models one by one, since they cost nothing, then all endpoints together.
    With `economy`, as many endpoints are asked together as make half of the teachers, before which
    no label can be decided; the others one after the other.
    """
    kinds = [teacher.kind for teacher in vote_table.teachers]
    rules = [column for column, kind in enumerate(kinds) if kind == "rule"]
    free = [rules, *([column] for column, kind in enumerate(kinds) if kind in ("student", "hf"))]
    endpoints = [column for column, kind in enumerate(kinds) if kind == "api"]
    together = len(endpoints)
    if economy:
        together = min(together, max(0, (len(kinds) + 1) // 2 - sum(map(len, free))))
    groups = [*free, endpoints[:together], *([column] for column in endpoints[together:])]
    return [group for group in groups if group]


def _questions(vote_table: VoteTable, column: int) -> Iterator[Question]:
    for number, record, wanted in vote_table.waiting_records([column]):
        if column in wanted:
            messages = partial(vote_table.prompt.messages, record)
            yield Question(number, record.id, bool(wanted[column]), messages)


def _recorder(vote_table: VoteTable, column: int, journal: Journal) -> OnAnswer:
    """Returns a function that writes an answer to the journal and the vote table."""
    teacher = vote_table.teachers[column]

    def record(answered: AnsweredQuestion) -> None:
        reply, vote, number = answered.reply, answered.label, answered.question.index
        answer = Answer(
            vote_table.key(column, number),
            teacher.name,
            teacher.model,
            answered.question.id,
            vote,
            reply.text,
            answered.final,
            reply.prompt_tokens,
            reply.completion_tokens,
            round(answered.seconds, 3),
            answered.cost,
            reply.estimated or None,
            teacher.max_tokens if reply.cut and vote is None else None,
        )
        offset = journal.append(answer)
        code = answer_code(vote, answer.final, answer.cut_at)
        vote_table.fill_in(column, [(code, offset, number)])

    return record


def _ask_rules(
    vote_table: VoteTable, columns: list[int], journal: Journal, progress: Progress
) -> None:
    """Asks all rules in one pass over the data."""
    answers: dict[int, list[tuple[int, int, int]]] = {column: [] for column in columns}
    total = len(vote_table.index)

    def fill_in() -> None:
        for column, answered in answers.items():
            vote_table.fill_in(column, answered)
            answered.clear()

    for number, record, wanted in vote_table.waiting_records(columns):
        for column in wanted:
            teacher = vote_table.teachers[column]
            vote, reason = RULES[teacher.name][1](record)
            key = vote_table.key(column, number)
            answer = Answer(key, teacher.name, teacher.model, record.id, vote, reason)
            answers[column].append((CODES[vote], journal.append(answer), number))
            vote_table.stats[teacher.name].done += 1
        if (number + 1) % _RULE_BATCH == 0:
            progress(Advance("rules", number + 1, total))
            fill_in()
    progress(Advance("rules", total, total))
    fill_in()


def _ask_student(
    voter: StudentVoter,
    vote_table: VoteTable,
    column: int,
    journal: Journal,
    progress: Progress,
) -> None:
    """Has the student score its records in batches."""
    teacher = vote_table.teachers[column]
    stats = vote_table.stats[teacher.name]
    waiting = vote_table.waiting_records([column])
    asked = ((number, record) for number, record, wanted in waiting if column in wanted)
    while batch := list(islice(asked, STUDENT_BATCH)):
        started = time.monotonic()
        scores = voter.score([record for _, record in batch])
        seconds = round((time.monotonic() - started) / len(batch), 3)
        answers = []
        for (number, record), score in zip(batch, scores, strict=True):
            vote = score.vote()
            answer = Answer(
                vote_table.key(column, number),
                teacher.name,
                teacher.model,
                record.id,
                vote,
                score.to_text(),
                seconds=seconds,
            )
            answers.append((CODES[vote], journal.append(answer), number))
            stats.no_vote += vote is None
        vote_table.fill_in(column, answers)
        stats.done += len(batch)
        stats.worded += len(batch)
        progress(Advance(teacher.name, stats.done, stats.total))


def _ask_local(
    model: LocalTeacher,
    stats: TeacherStats,
    questions: Iterator[Question],
    on_answer: OnAnswer,
    progress: Progress,
) -> None:
    """Asks a local model in batches; a question without a label joins the next batch once."""
    batch: list[Question] = []
    for question in questions:
        batch.append(question)
        if len(batch) >= BATCH:
            batch = _ask_batch(model, stats, batch, on_answer)
            progress(Advance(stats.teacher.name, stats.done, stats.total))
    while batch:
        batch = _ask_batch(model, stats, batch, on_answer)
        progress(Advance(stats.teacher.name, stats.done, stats.total))


def _ask_batch(
    model: LocalTeacher, stats: TeacherStats, batch: list[Question], on_answer: OnAnswer
) -> list[Question]:
    """Returns the questions to ask a second time."""
    started = time.monotonic()
    replies = model.answer([question.messages(question.second_attempt) for question in batch])
    seconds = (time.monotonic() - started) / len(batch)
    repeat = []
    for question, reply in zip(batch, replies, strict=True):
        stats.requests += 1
        if reply is None:
            stats.rejected += 1
            stats.left_open += 1
            stats.last_rejection = "the prompt exceeds the model's context length"
            continue
        stats.worded += bool(reply.text.strip())
        label = reply.label()
        final = question.second_attempt or label is not None
        on_answer(AnsweredQuestion(question, reply, label, final, seconds, 0.0))
        stats.prompt_tokens += reply.prompt_tokens or 0
        stats.completion_tokens += reply.completion_tokens or 0
        stats.done += final
        stats.no_vote += final and label is None
        if not final:
            repeat.append(replace(question, second_attempt=True))
    return repeat
