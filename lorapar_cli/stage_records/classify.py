"""What `classify` counts and measures."""

from dataclasses import dataclass
from typing import NotRequired, TypedDict


class TeacherRow(TypedDict):
    """What one teacher was asked, how it voted and what it cost.

    `asked` questions were answered in this run, `from_journal` in earlier ones; tokens and `cost`
    (US dollars, None where the price is unknown) are of both. `cut` answers reached `max_tokens`
    before they named a label.
    """

    system1: int
    system2: int
    no_vote: int
    asked: int
    from_journal: int
    requests: int
    retries: int
    too_many_requests: int
    refused: int
    cut: NotRequired[int]
    max_tokens: NotRequired[int | None]
    tokens_estimated: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    price_date: str | None


class RequestsSaved(TypedDict):
    """Questions to teachers other than rules that needed no request, by the reason."""

    journal: int
    economy: int
    repeated_records: int


class ClassifyCounts(TypedDict):
    """Numbers of records; `teachers` by name. `unanswered` counts questions, not records.

    `unused_fields` counts, by their names, rows with fields that look like part of the question and
    are not used.
    """

    records: int
    system1: int
    system2: int
    heldout: int
    undecided: int
    contested: int
    reviewed: int
    dropped: int
    empty: int
    bad_lines: int
    repeated_ids: int
    repeated_records: int
    without_reference: NotRequired[int]
    unused_fields: NotRequired[dict[str, int]]
    unanswered: NotRequired[int]
    requests_saved: RequestsSaved
    teachers: dict[str, TeacherRow]


class HitRates(TypedDict):
    """Probability that a teacher names the right system, by the record's true system."""

    system1: float
    system2: float


class ClassifyMetrics(TypedDict):
    """Agreement of the votes, money, and accuracy where the source has labels of its own.

    Keys of `pairwise_agreement` are `first|second`. `accuracy` is by teacher, of the votes that it
    cast, absent for one that cast none; of the vote under `vote`, with the number of records under
    `records`.
    """

    reliability: NotRequired[dict[str, HitRates]]
    mean_agreement: float | None
    krippendorff_alpha: float | None
    pairwise_agreement: dict[str, float | None]
    cost: float | None
    accuracy: NotRequired[dict[str, float]]


@dataclass(frozen=True)
class ClassifyRecord:
    """What `classify` counts and measures."""

    counts: ClassifyCounts
    metrics: ClassifyMetrics
