"""From votes to labels: whether they suffice, what they decide, and what becomes of ties."""

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.teachers.dispatch import RequestPolicy
from lorapar_cli.labelling.teachers.tally import what_happened
from lorapar_cli.labelling.votes import reliability, voting
from lorapar_cli.labelling.votes.vote_patterns import VotePatterns, pattern_of_each
from lorapar_cli.labelling.votes.vote_table import VoteTable
from lorapar_cli.store.manifest import Manifest


@dataclass(frozen=True)
class LabelDecisions:
    """What was decided on every kind of record.

    Attributes:
        teachers: Their names, in the order of the votes' columns.
        votes: uint8 `[patterns, teachers]`, the codes of `labelling.votes.voting`.
        labels: uint8 `[patterns]`; `UNDECIDED` for dropped records.
        undecided: bool `[patterns]`, ties and records without votes, before they were broken.
        agreement: float64 `[patterns]`, NaN without votes.
        held_out: bool `[patterns]`.
        contested: bool `[patterns]`, for a person to read.
        reviewed: bool `[patterns]`, the label is a person's.
    """

    teachers: list[str]
    votes: np.ndarray
    labels: np.ndarray
    undecided: np.ndarray
    agreement: np.ndarray
    held_out: np.ndarray
    contested: np.ndarray
    reviewed: np.ndarray


_TIES_TO = {"system1": voting.SYSTEM1, "system2": voting.SYSTEM2}


def ties_to(settings: dict[str, Any]) -> int:
    """Returns what a tie becomes: a system, or `UNDECIDED` where it becomes neither."""
    return _TIES_TO.get(settings["on_tie"], voting.UNDECIDED)


def economy_ties_to(settings: dict[str, Any]) -> int | None:
    """Returns what a tie becomes where questions are spared, else None."""
    return ties_to(settings) if settings["economy"] else None


def check_complete(vote_table: VoteTable, min_votes: int | None, policy: RequestPolicy) -> None:
    """Checks that no question stayed open, or that a quorum can decide without its answer.

    Raises:
        LoraparError: It cannot; says how far each teacher came.
    """
    vote_table.count_rejected_as_no_vote()
    votes, _ = vote_table.open_votes()
    waiting = votes[(votes == voting.UNASKED).any(axis=1)]
    if len(waiting) == 0:
        return
    first, second = voting.count_votes(waiting)
    if min_votes is not None and (first + second).min() >= min_votes:
        return
    found = "\n".join(
        f"`{stats.teacher.name}`: {stats.done} of {stats.total} questions answered"
        f"{what_happened(stats)}"
        for stats in vote_table.stats.values()
        if stats.done < stats.total
    )
    again = "the answers so far are kept: give the same command again to go on"
    if any(stats.over_budget for stats in vote_table.stats.values()):
        raise LoraparError(
            f"stopped before `--max-cost {policy.max_cost:g}` was passed",
            f"spent ${vote_table.spent():.4f}\n{found}",
            f"{again}, with a higher `--max-cost`",
        )
    raise LoraparError(
        "not every teacher answered every question",
        found,
        f"{again}, or accept fewer votes with `--min-votes`",
    )


def decide(manifest: Manifest, vote_table: VoteTable, patterns: VotePatterns) -> LabelDecisions:
    """Returns the verdict; the manifest gets the reliabilities where votes were weighted by them.

    Raises:
        LoraparError: There is a tie where `on_tie` is `error`.
    """
    settings = manifest.settings
    labels = _labels_by_vote(manifest, vote_table, patterns)
    reviewed = patterns.reviewed > 0
    labels[reviewed] = patterns.reviewed[reviewed]
    undecided = (labels == voting.UNDECIDED) & ~patterns.empty
    if settings["on_tie"] == "error" and undecided.any():
        _refuse_ties(vote_table, patterns, undecided)
    labels[undecided] = ties_to(settings)
    labels[patterns.empty] = voting.UNDECIDED
    first, second = voting.count_votes(patterns.votes)
    split = (first > 0) & (second > 0)
    return LabelDecisions(
        [teacher.name for teacher in vote_table.teachers],
        patterns.votes,
        labels,
        undecided,
        voting.agreement(patterns.votes, labels),
        patterns.held_out,
        (split | (undecided & (len(vote_table.teachers) > 0))) & ~patterns.empty,
        reviewed,
    )


def _labels_by_vote(
    manifest: Manifest, vote_table: VoteTable, patterns: VotePatterns
) -> np.ndarray:
    """Returns the labels before ties are broken, uint8 `[patterns]`."""
    if manifest.settings["strategy"] == "random":
        return patterns.random_labels.copy()
    if manifest.settings["vote"] == "majority":
        return voting.majority(patterns.votes)
    full = ~patterns.empty
    estimate = reliability.dawid_skene(patterns.votes[full], patterns.counts[full])
    manifest.metrics["reliability"] = {
        teacher.name: {"system1": float(hits[0]), "system2": float(hits[1])}
        for teacher, hits in zip(vote_table.teachers, estimate.hits, strict=True)
    }
    labels = np.zeros(len(patterns.counts), np.uint8)
    labels[full] = estimate.labels
    return labels


def _refuse_ties(vote_table: VoteTable, patterns: VotePatterns, undecided: np.ndarray) -> None:
    each = zip(vote_table.index.records(), pattern_of_each(vote_table, patterns), strict=False)
    first = islice((record.id for record, (pattern, _) in each if undecided[pattern]), 5)
    count = int(patterns.counts[undecided].sum())
    raise LoraparError(
        f"{count} records have no majority, and `--on-tie` is `error`",
        f"ids {', '.join(first)}{', ...' if count > 5 else ''}",
        "ask an odd number of teachers, or choose `--on-tie system1`, `system2` or `drop`",
    )
