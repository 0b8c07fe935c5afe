"""What `classify --dry-run` shows: questions, tokens and cost, and one prompt as it is sent."""

from dataclasses import dataclass
from typing import TypedDict

from lorapar_cli.labelling.teachers.catalog import how_to_price
from lorapar_cli.labelling.teachers.dispatch import estimate_tokens
from lorapar_cli.labelling.teachers.teacher import Teacher
from lorapar_cli.labelling.votes.vote_table import VoteTable
from lorapar_cli.store.records import Message

_ASSUMED_ANSWER_TOKENS = 60


class EstimateRow(TypedDict):
    """One teacher: questions to ask, questions that the journal answers, tokens and US dollars."""

    questions: int
    from_journal: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    price_date: str | None


@dataclass(frozen=True)
class CostEstimate:
    """What asking would take.

    Attributes:
        rows: By teacher.
        messages: One rendered prompt; empty if no teacher reads prompts.
    """

    rows: dict[str, EstimateRow]
    messages: list[Message]
    notes: list[str]


def estimate(vote_table: VoteTable, economy_ties_to: int | None) -> CostEstimate:
    """Returns what asking all open questions would take; asks and writes nothing."""
    notes: list[str] = []
    if economy_ties_to is not None:
        vote_table.close_decided(economy_ties_to)
        notes.append("`--economy` asks at most this many questions")
    reading = [column for column, t in enumerate(vote_table.teachers) if t.reads_prompt]
    tokens = _prompt_tokens(vote_table, reading)
    messages = []
    if reading:
        messages = vote_table.prompt.messages(next(vote_table.index.records()))
        notes.append("prompt tokens are estimated as a quarter of the bytes")
        notes.append(
            "answers are assumed to be as long as those in the journal, else "
            f"{_ASSUMED_ANSWER_TOKENS} tokens; a model that thinks first uses many more"
        )
    if unpriced := [teacher for teacher in vote_table.teachers if teacher.price is None]:
        names = ", ".join(teacher.name for teacher in unpriced)
        notes.append(f"no price is known for {names}: their cost is not included")
        notes.append(how_to_price(unpriced))
    if missing := [f"`{t.name}`: {t.missing()}" for t in vote_table.teachers if t.missing()]:
        notes.append(f"cannot be asked yet: {'; '.join(missing)}")
    rows = {
        teacher.name: _row(vote_table, column, teacher, tokens.get(column, 0))
        for column, teacher in enumerate(vote_table.teachers)
    }
    return CostEstimate(rows, messages, notes)


def _prompt_tokens(vote_table: VoteTable, columns: list[int]) -> dict[int, int]:
    """Returns the prompt tokens of all open questions by column."""
    tokens = dict.fromkeys(columns, 0)
    for _, record, wanted in vote_table.waiting_records(columns):
        if wanted:
            size = estimate_tokens(vote_table.prompt.messages(record))
            for column in wanted:
                tokens[column] += size
    return tokens


def _row(vote_table: VoteTable, column: int, teacher: Teacher, tokens: int) -> EstimateRow:
    totals = vote_table.journaled[teacher.name]
    mean = totals.completion_tokens / totals.answers if totals.completion_tokens else None
    count = vote_table.count_waiting(column)
    answered = int(count * (_ASSUMED_ANSWER_TOKENS if mean is None else mean))
    answered = answered if teacher.reads_prompt else 0
    return {
        "questions": count,
        "from_journal": vote_table.from_journal[teacher.name],
        "prompt_tokens": tokens,
        "completion_tokens": answered,
        "cost": teacher.price.of(tokens, answered) if teacher.price else None,
        "price_date": teacher.price.date if teacher.price else None,
    }
