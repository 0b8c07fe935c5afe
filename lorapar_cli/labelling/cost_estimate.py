"""What `classify --dry-run` tells: questions, tokens and money, and one prompt as it is sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lorapar_cli.labelling.teachers.catalog import how_to_price
from lorapar_cli.labelling.teachers.dispatch import estimate_tokens
from lorapar_cli.labelling.teachers.teacher import Teacher
from lorapar_cli.labelling.votes.vote_table import VoteTable

_ASSUMED_ANSWER_TOKENS = 60


@dataclass(frozen=True)
class CostEstimate:
    """What the asking would take.

    Attributes:
        rows: By teacher: questions to ask, those in the journal, tokens, and US dollars or None.
        messages: One rendered prompt, empty where no teacher reads one.
    """

    rows: dict[str, dict[str, Any]]
    messages: list[dict[str, str]]
    notes: list[str]


def estimate(vote_table: VoteTable, economy_ties_to: int | None) -> CostEstimate:
    """Returns what asking all that is open would take; asks and writes nothing."""
    notes: list[str] = []
    if economy_ties_to is not None:
        vote_table.close_decided(economy_ties_to)
        notes.append("`--economy` asks as many questions as this at most")
    asked = [column for column, teacher in enumerate(vote_table.teachers) if teacher.kind != "rule"]
    tokens, messages = _prompt_tokens(vote_table, asked) if asked else ({}, [])
    rows = {
        teacher.name: _row(vote_table, column, teacher, tokens.get(column, 0))
        for column, teacher in enumerate(vote_table.teachers)
    }
    if asked:
        notes.append("prompt tokens are estimated as a quarter of the bytes")
        notes.append(
            f"answers are taken to be as long as those in the journal, else "
            f"{_ASSUMED_ANSWER_TOKENS} tokens; a model that thinks first takes many more"
        )
    if unpriced := [teacher for teacher in vote_table.teachers if teacher.price is None]:
        names = ", ".join(teacher.name for teacher in unpriced)
        notes.append(f"no price is known for {names}: their cost is not counted")
        notes.append(how_to_price(unpriced))
    if missing := [f"`{t.name}`: {t.missing()}" for t in vote_table.teachers if t.missing()]:
        notes.append(f"cannot be asked yet: {'; '.join(missing)}")
    return CostEstimate(rows, messages, notes)


def _prompt_tokens(
    vote_table: VoteTable, columns: list[int]
) -> tuple[dict[int, int], list[dict[str, str]]]:
    """Returns the prompt tokens of all open questions by column, and the first record's prompt."""
    tokens, messages = dict.fromkeys(columns, 0), []
    waiting = {column: vote_table.waiting(column) for column in columns}
    wanted = {column: _next_number(waiting[column]) for column in columns}
    for number, record in enumerate(vote_table.index.records()):
        mine = [column for column in columns if wanted[column] == number]
        if not mine and messages:
            continue
        chat = vote_table.prompt.messages(record)
        messages = messages or chat
        for column in mine:
            tokens[column] += estimate_tokens(chat)
            wanted[column] = _next_number(waiting[column])
    return tokens, messages


def _next_number(waiting: Iterator[tuple[int, bool]]) -> int | None:
    number, _ = next(waiting, (None, False))
    return number


def _row(vote_table: VoteTable, column: int, teacher: Teacher, tokens: int) -> dict[str, Any]:
    known = vote_table.journaled[teacher.name]
    answer = known.completion_tokens / known.answers if known.completion_tokens else None
    count = vote_table.count_waiting(column)
    said = int(count * (_ASSUMED_ANSWER_TOKENS if answer is None else answer))
    said = 0 if teacher.kind == "rule" else said
    return {
        "questions": count,
        "from_journal": vote_table.from_journal[teacher.name],
        "prompt_tokens": tokens,
        "completion_tokens": said,
        "cost": teacher.price.of(tokens, said) if teacher.price else None,
        "price_date": teacher.price.date if teacher.price else None,
    }
