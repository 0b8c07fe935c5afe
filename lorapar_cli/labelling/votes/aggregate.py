"""From votes to labels: whether they suffice, what they decide, and what becomes of ties."""

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.teachers.dispatch import Manner
from lorapar_cli.labelling.teachers.tally import what_happened
from lorapar_cli.labelling.votes import reliability as trust
from lorapar_cli.labelling.votes import voting
from lorapar_cli.labelling.votes.vote_patterns import Kinds, kind_of_each
from lorapar_cli.labelling.votes.vote_table import Ballot
from lorapar_cli.store.manifest import Manifest


@dataclass(frozen=True)
class Verdict:
    """What was decided on every kind of record.

    Attributes:
        teachers: Their names, in the order of the votes' columns.
        votes: uint8 `[kinds, teachers]`, the codes of `labelling.votes.voting`.
        labels: uint8 `[kinds]`; `UNDECIDED` for dropped records.
        undecided: bool `[kinds]`, ties and records without votes, before they were broken.
        agreement: float64 `[kinds]`, NaN without votes.
        held_out: bool `[kinds]`.
        contested: bool `[kinds]`, for a person to read.
        reviewed: bool `[kinds]`, the label is a person's.
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


def check_complete(ballot: Ballot, min_votes: int | None, manner: Manner) -> None:
    """Checks that no question stayed open, or that a quorum can decide without its answer.

    Raises:
        LoraparError: It cannot; says how far each teacher came.
    """
    ballot.give_up_refused()
    votes, _ = ballot.open_votes()
    waiting = votes[(votes == voting.UNASKED).any(axis=1)]
    if len(waiting) == 0:
        return
    first, second = voting.count_votes(waiting)
    if min_votes is not None and (first + second).min() >= min_votes:
        return
    found = "\n".join(
        f"`{tally.teacher.name}`: {tally.done} of {tally.total} questions answered"
        f"{what_happened(tally)}"
        for tally in ballot.tallies.values()
        if tally.done < tally.total
    )
    again = "the answers so far are kept: give the same command again to go on"
    if any(tally.over_budget for tally in ballot.tallies.values()):
        raise LoraparError(
            f"stopped before `--max-cost {manner.max_cost:g}` was passed",
            f"spent ${ballot.spent():.4f}\n{found}",
            f"{again}, with a higher `--max-cost`",
        )
    raise LoraparError(
        "not every teacher answered every question",
        found,
        f"{again}, or accept fewer votes with `--min-votes`",
    )


def decide(manifest: Manifest, ballot: Ballot, kinds: Kinds) -> Verdict:
    """Returns the verdict; the manifest gets the reliabilities where votes were weighted by them.

    Raises:
        LoraparError: There is a tie where `on_tie` is `error`.
    """
    settings = manifest.settings
    labels = _labels_by_vote(manifest, ballot, kinds)
    reviewed = kinds.reviewed > 0
    labels[reviewed] = kinds.reviewed[reviewed]
    undecided = (labels == voting.UNDECIDED) & ~kinds.empty
    if settings["on_tie"] == "error" and undecided.any():
        _refuse_ties(ballot, kinds, undecided)
    labels[undecided] = ties_to(settings)
    labels[kinds.empty] = voting.UNDECIDED
    first, second = voting.count_votes(kinds.votes)
    split = (first > 0) & (second > 0)
    return Verdict(
        [teacher.name for teacher in ballot.teachers],
        kinds.votes,
        labels,
        undecided,
        voting.agreement(kinds.votes, labels),
        kinds.held_out,
        (split | (undecided & (len(ballot.teachers) > 0))) & ~kinds.empty,
        reviewed,
    )


def _labels_by_vote(manifest: Manifest, ballot: Ballot, kinds: Kinds) -> np.ndarray:
    """Returns the labels before ties are broken, uint8 `[kinds]`."""
    if manifest.settings["strategy"] == "random":
        return kinds.drawn.copy()
    if manifest.settings["vote"] == "majority":
        return voting.majority(kinds.votes)
    full = ~kinds.empty
    estimate = trust.dawid_skene(kinds.votes[full], kinds.counts[full])
    manifest.metrics["reliability"] = {
        teacher.name: {"system1": float(hits[0]), "system2": float(hits[1])}
        for teacher, hits in zip(ballot.teachers, estimate.hits, strict=True)
    }
    labels = np.zeros(len(kinds.counts), np.uint8)
    labels[full] = estimate.labels
    return labels


def _refuse_ties(ballot: Ballot, kinds: Kinds, undecided: np.ndarray) -> None:
    each = zip(ballot.index.records(), kind_of_each(ballot, kinds), strict=False)
    first = islice((record.id for record, (kind, _) in each if undecided[kind]), 5)
    count = int(kinds.counts[undecided].sum())
    raise LoraparError(
        f"{count} records have no majority, and `--on-tie` is `error`",
        f"ids {', '.join(first)}{', ...' if count > 5 else ''}",
        "ask an odd number of teachers, or choose `--on-tie system1`, `system2` or `drop`",
    )
