"""From votes to labels: whether the votes suffice, what they decide, and what ties become."""

from dataclasses import dataclass
from itertools import islice

import numpy as np

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.labelling.teachers.tally import what_happened
from lorapar_cli.labelling.votes import voting
from lorapar_cli.labelling.votes.journal import RESUME_HINT
from lorapar_cli.labelling.votes.reliability import Reliability, dawid_skene
from lorapar_cli.labelling.votes.vote_patterns import VotePatterns, pattern_of_each
from lorapar_cli.labelling.votes.vote_table import VoteTable
from lorapar_cli.names import Artifact
from lorapar_cli.plurals import counted, inflected

_SHOWN_IDS = 5
_TIES_TO = {"system1": voting.SYSTEM1, "system2": voting.SYSTEM2}


@dataclass(frozen=True)
class LabelDecisions:
    """The label of every pattern of votes.

    Attributes:
        teachers: Names, in the order of the votes' columns.
        votes: uint8 `[patterns, teachers]`, the codes of `labelling.votes.voting`.
        labels: uint8 `[patterns]`; `UNDECIDED` for dropped records.
        undecided: bool `[patterns]`, ties and records without votes, before they were resolved.
        agreement: float64 `[patterns]`, NaN without votes.
        held_out: bool `[patterns]`.
        contested: bool `[patterns]`, for a person to read.
        reviewed: bool `[patterns]`, the label is a person's.
        reliability: The teachers' reliability, if their votes are weighted by it.
    """

    teachers: list[str]
    votes: np.ndarray
    labels: np.ndarray
    undecided: np.ndarray
    agreement: np.ndarray
    held_out: np.ndarray
    contested: np.ndarray
    reviewed: np.ndarray
    reliability: Reliability | None = None


def ties_to(options: ClassifyOptions) -> int:
    """Returns what a tie becomes: a system, or `UNDECIDED` for neither."""
    return _TIES_TO.get(options.on_tie, voting.UNDECIDED)


def economy_ties_to(options: ClassifyOptions) -> int | None:
    """Returns what a tie becomes if questions are skipped, else None."""
    return ties_to(options) if options.economy else None


def check_complete(vote_table: VoteTable, min_votes: int | None, max_cost: float | None) -> None:
    """Checks that every question is answered, or that `min_votes` suffice without the answer.

    Raises:
        LoraparError: They do not; says how far each teacher came. Or a teacher's answers are all
            empty.
    """
    vote_table.count_rejected_as_no_vote()
    votes, _ = vote_table.open_votes()
    first, second = voting.count_votes(votes)
    if min_votes is not None and (first + second >= min_votes).all():
        return
    waiting = votes[(votes == voting.UNASKED).any(axis=1)]
    first, second = voting.count_votes(waiting)
    if len(waiting) == 0 or (min_votes is not None and (first + second).min() >= min_votes):
        _require_words(vote_table)
        return
    found = "\n".join(
        f"`{stats.teacher.name}`: {stats.done} of {counted(stats.total, 'question')} answered"
        f"{what_happened(stats)}"
        for stats in vote_table.stats.values()
        if stats.done < stats.total
    )
    if max_cost is not None and any(stats.over_budget for stats in vote_table.stats.values()):
        raise LoraparError(
            f"stopped before exceeding `--max-cost {max_cost:g}`",
            f"spent ${vote_table.spent():.4f}\n{found}",
            f"{RESUME_HINT}, with a higher `--max-cost`",
        )
    raise LoraparError(
        "not every teacher answered every question",
        found,
        f"{RESUME_HINT}, or accept fewer votes with `--min-votes`",
    )


def _require_words(vote_table: VoteTable) -> None:
    """Checks that no teacher gave empty answers only.

    Raises:
        LoraparError: One did.
    """
    counts = {
        teacher.name: vote_table.count_no_vote(column)
        for column, teacher in enumerate(vote_table.teachers)
        if vote_table.answered_nothing(column)
    }
    if any(counts.values()):
        raise LoraparError(
            "a teacher answered nothing at all",
            "\n".join(
                f"`{name}`: {counted(n, 'answer')}, all empty" for name, n in counts.items() if n
            ),
            "check its model and `max_tokens`, or leave it out; what it answered is saved in "
            f"`{Artifact.VOTES}`, and is asked again once its lines are removed there",
        )


def decide(
    options: ClassifyOptions, vote_table: VoteTable, patterns: VotePatterns
) -> LabelDecisions:
    """Returns the labels.

    Raises:
        LoraparError: There is a tie and `on_tie` is `error`.
    """
    labels, reliability = _labels_before_ties(options, patterns)
    reviewed = patterns.reviewed > 0
    labels[reviewed] = patterns.reviewed[reviewed]
    undecided = (labels == voting.UNDECIDED) & ~patterns.empty
    if options.on_tie == "error" and undecided.any():
        _raise_ties(vote_table, patterns, undecided)
    labels[undecided] = ties_to(options)
    labels[patterns.empty] = voting.UNDECIDED
    first, second = voting.count_votes(patterns.votes)
    split = (first > 0) & (second > 0)
    return LabelDecisions(
        teachers=[teacher.name for teacher in vote_table.teachers],
        votes=patterns.votes,
        labels=labels,
        undecided=undecided,
        agreement=voting.agreement(patterns.votes, labels),
        held_out=patterns.held_out,
        contested=(split | (undecided & (len(vote_table.teachers) > 0))) & ~patterns.empty,
        reviewed=reviewed,
        reliability=reliability,
    )


def _labels_before_ties(
    options: ClassifyOptions, patterns: VotePatterns
) -> tuple[np.ndarray, Reliability | None]:
    """Returns the labels, uint8 `[patterns]`, with ties undecided."""
    if options.strategy == "random":
        return patterns.random_labels.copy(), None
    if options.vote == "majority":
        return voting.majority(patterns.votes), None
    full = ~patterns.empty
    reliability = dawid_skene(patterns.votes[full], patterns.counts[full])
    labels = np.zeros(len(patterns.counts), np.uint8)
    labels[full] = reliability.labels
    return labels, reliability


def _raise_ties(vote_table: VoteTable, patterns: VotePatterns, undecided: np.ndarray) -> None:
    each = zip(vote_table.index.records(), pattern_of_each(vote_table, patterns), strict=False)
    ids = (record.id for record, (pattern, _) in each if undecided[pattern])
    count = int(patterns.counts[undecided].sum())
    raise LoraparError(
        f"{counted(count, 'record')} {inflected(count, 'has', 'have')} no majority, "
        "and `--on-tie` is `error`",
        f"ids {', '.join(islice(ids, _SHOWN_IDS))}{', ...' if count > _SHOWN_IDS else ''}",
        "ask an odd number of teachers, or choose `--on-tie system1`, `system2` or `drop`",
    )
