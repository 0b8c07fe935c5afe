"""Asks the questions of a ballot that have no answer yet: rules, local models, endpoints."""

import time
from collections.abc import Iterator

from lorapar_cli.labelling.teachers.client import Reply
from lorapar_cli.labelling.teachers.dispatch import Manner, OnAnswer, Question, interview
from lorapar_cli.labelling.teachers.rules import RULES
from lorapar_cli.labelling.teachers.tally import Tally
from lorapar_cli.labelling.votes.journal import Answer, Journal
from lorapar_cli.labelling.votes.journal_index import answer_code
from lorapar_cli.labelling.votes.vote_table import Ballot
from lorapar_cli.labelling.votes.voting import CODES
from lorapar_cli.names import Progress, System

_AT_ONCE = 1000


def poll(
    ballot: Ballot,
    journal: Journal,
    manner: Manner,
    economy_ties_to: int | None,
    trust_remote_code: bool,
    progress: Progress,
) -> None:
    """Asks every question without an answer; the ballot's tallies hold what went wrong.

    Args:
        economy_ties_to: Where a record's label is settled whatever the others say, ask them
            nothing; a tie counts as this system. None asks everybody everything.
    """
    for phase in _phases(ballot, economy_ties_to is not None):
        if economy_ties_to is not None:
            ballot.close_settled(economy_ties_to)
        rules, endpoints = [], []
        for column in phase:
            teacher = ballot.teachers[column]
            tally = Tally(teacher, ballot.count_waiting(column))
            ballot.tallies[teacher.name] = tally
            if tally.total == 0:
                continue
            if teacher.kind == "rule":
                rules.append(column)
            elif teacher.kind == "hf":
                _ask_local(ballot, column, journal, trust_remote_code, progress)
            else:
                on_answer = _recorder(ballot, column, journal)
                endpoints.append((tally, _questions(ballot, column), on_answer))
        if rules:
            _ask_rules(ballot, rules, journal, progress)
        if endpoints:
            interview(endpoints, manner, ballot.spent(), progress)
    if economy_ties_to is not None:
        ballot.close_settled(economy_ties_to)


def _phases(ballot: Ballot, in_turn: bool) -> list[list[int]]:
    """Returns the columns that are asked at the same time: rules, then local models one by one,
    since they cost nothing, then all endpoints together.

    In turn, no label is settled before half of the teachers were asked: up to that number
    endpoints go together, the others one after the other.
    """
    kinds = [teacher.kind for teacher in ballot.teachers]
    rules = [column for column, kind in enumerate(kinds) if kind == "rule"]
    here = [rules, *([column] for column, kind in enumerate(kinds) if kind == "hf")]
    apis = [column for column, kind in enumerate(kinds) if kind == "api"]
    together = len(apis)
    if in_turn:
        together = min(len(apis), max(0, (len(kinds) + 1) // 2 - sum(map(len, here))))
    groups = [apis[:together], *([column] for column in apis[together:])]
    return [group for group in here + groups if group]


def _questions(ballot: Ballot, column: int) -> Iterator[Question]:
    waiting = ballot.waiting(column)
    wanted = next(waiting, None)
    for number, record in enumerate(ballot.index.records()):
        if wanted is None:
            return
        if number == wanted[0]:
            yield Question(
                number,
                record.id,
                bool(wanted[1]),
                lambda once_more, record=record: ballot.prompt.messages(record, once_more),
            )
            wanted = next(waiting, None)


def _recorder(ballot: Ballot, column: int, journal: Journal) -> OnAnswer:
    """Returns what writes an answer to the journal and the ballot."""
    teacher = ballot.teachers[column]

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
            ballot.key(column, number),
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
        ballot.fill_in(column, iter([(code, offset, number)]))

    return record


def _ask_rules(ballot: Ballot, columns: list[int], journal: Journal, progress: Progress) -> None:
    """Asks all rules in one reading of the data."""
    asked = [(column, ballot.teachers[column], ballot.waiting(column)) for column in columns]
    wanted = {column: next(waiting, None) for column, _, waiting in asked}
    answers: dict[int, list[tuple[int, int, int]]] = {column: [] for column in columns}
    total = len(ballot.index)
    for number, record in enumerate(ballot.index.records()):
        for column, teacher, waiting in asked:
            if wanted[column] is None or wanted[column][0] != number:
                continue
            wanted[column] = next(waiting, None)
            vote, reason = RULES[teacher.name][1](record)
            key = ballot.key(column, number)
            answer = Answer(key, teacher.name, teacher.model, record.id, vote, reason)
            answers[column].append((CODES[vote], journal.append(answer), number))
            ballot.tallies[teacher.name].done += 1
        if (number + 1) % _AT_ONCE == 0 or number + 1 == total:
            progress("rules", number + 1, total)
            for column, answered in answers.items():
                ballot.fill_in(column, iter(answered))
                answered.clear()


def _ask_local(
    ballot: Ballot, column: int, journal: Journal, trust_remote_code: bool, progress: Progress
) -> None:
    from lorapar_cli.labelling.teachers.local_model import BATCH, LocalTeacher

    teacher = ballot.teachers[column]
    tally = ballot.tallies[teacher.name]
    model = LocalTeacher(teacher, trust_remote_code)
    record = _recorder(ballot, column, journal)
    batch: list[tuple[Question, bool]] = []

    def flush() -> list[tuple[Question, bool]]:
        started = time.monotonic()
        replies = model.answer([question.messages(again) for question, again in batch])
        seconds = (time.monotonic() - started) / len(batch)
        repeat = []
        for (question, again), reply in zip(batch, replies, strict=True):
            tally.requests += 1
            if reply is None:
                tally.refused += 1
                tally.left_open += 1
                tally.last_refusal = "the prompt is longer than the model can read"
                continue
            vote = reply.label()
            final = again or vote is not None
            record(question, reply, vote, final, seconds, 0.0)
            tally.prompt_tokens += reply.prompt_tokens or 0
            tally.completion_tokens += reply.completion_tokens or 0
            tally.done += final
            tally.no_vote += final and vote is None
            if not final:
                repeat.append((question, True))
        progress(teacher.name, tally.done, tally.total)
        return repeat

    for question in _questions(ballot, column):
        batch.append((question, question.once_more))
        if len(batch) >= BATCH:
            batch = flush()
    while batch:
        batch = flush()
