"""What classify tells about its votes: counts, agreement, money, and notes for a person."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lorapar_cli.core import trust, voting
from lorapar_cli.hub.ballot import Ballot
from lorapar_cli.hub.indexing import Index
from lorapar_cli.hub.interview import Tally
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.store.splits import Verdict


def summarise(
    manifest: Manifest,
    index: Index,
    ballot: Ballot,
    verdict: Verdict,
    undecided: np.ndarray,
    economy: int | None,
) -> None:
    """Fills in the manifest's counts and metrics.

    Args:
        undecided: bool `[records]`, ties and records without votes, before they were broken.
        economy: What a tie becomes where questions were spared, else None.
    """
    labels, votes = verdict.labels, ballot.votes
    kept = labels != voting.UNDECIDED
    split = kept & ~verdict.held_out
    paid = [teacher for teacher in ballot.teachers if teacher.kind != "rule"]
    spared = np.zeros(votes.shape, bool)
    if economy is not None:
        spared = ballot.unanswered() & ballot.settled(economy)[:, None]
    copies = int((index.owners != np.arange(len(index))).sum())
    manifest.counts = {
        "records": len(index),
        "system1": int((labels[split] == voting.SYSTEM1).sum()),
        "system2": int((labels[split] == voting.SYSTEM2).sum()),
        "heldout": int((kept & verdict.held_out).sum()),
        "undecided": int(undecided.sum()),
        "contested": int(verdict.contested.sum()),
        "reviewed": int(verdict.reviewed.sum()),
        "dropped": int((~kept).sum()),
        "empty": int(index.empty.sum()),
        "bad_lines": index.bad_count,
        "repeated_ids": index.repeated_ids(),
        "repeated_records": copies,
        "requests_saved": {
            "journal": sum(ballot.cached[teacher.name] for teacher in paid),
            "economy": int(spared.sum()),
            "repeated_records": copies * len(paid),
        },
        "teachers": {
            teacher.name: _counts_of(ballot, column, votes)
            for column, teacher in enumerate(ballot.teachers)
        },
    }
    names = [teacher.name for teacher in ballot.teachers]
    pairs = trust.pairwise_agreement(votes)
    manifest.metrics |= {
        "mean_agreement": _mean(verdict.agreement[kept]),
        "krippendorff_alpha": trust.krippendorff_alpha(votes) if len(names) > 1 else None,
        "pairwise_agreement": {
            f"{names[a]}|{names[b]}": _mean(pairs[a, b : b + 1])
            for a in range(len(names))
            for b in range(a + 1, len(names))
        },
        "cost": ballot.spent() if all(t.price for t in ballot.teachers) else None,
    }
    known = (index.truths > 0) & kept
    if known.any():
        right = {name: votes[:, column] == index.truths for column, name in enumerate(names)}
        right["vote"] = labels == index.truths
        manifest.metrics["accuracy"] = {
            name: float(hits[known].mean()) for name, hits in right.items()
        } | {"records": int(known.sum())}


def _counts_of(ballot: Ballot, column: int, votes: np.ndarray) -> dict[str, Any]:
    teacher = ballot.teachers[column]
    tally = ballot.tallies.get(teacher.name) or Tally(teacher, 0)
    known = ballot.known[teacher.name]
    return {
        "system1": int((votes[:, column] == voting.SYSTEM1).sum()),
        "system2": int((votes[:, column] == voting.SYSTEM2).sum()),
        "no_vote": int((votes[:, column] == voting.NO_VOTE).sum()),
        "asked": tally.done,
        "from_journal": ballot.cached[teacher.name],
        "requests": tally.requests,
        "retries": tally.retries,
        "too_many_requests": tally.slowed,
        "refused": tally.refused,
        "prompt_tokens": known.prompt_tokens + tally.prompt_tokens,
        "completion_tokens": known.completion_tokens + tally.completion_tokens,
        "cost": ballot.spent_on(teacher) if teacher.price else None,
        "price_date": teacher.price.date if teacher.price else None,
    }


def _mean(values: np.ndarray) -> float | None:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def add_notes(manifest: Manifest, ballot: Ballot, damaged: int) -> None:
    """Adds the sentences that a person should read to the manifest, which has its counts."""
    manifest.notes += [
        *_notes_on_records(manifest, ballot.index),
        *_notes_on_teachers(ballot),
        *([f"{damaged} damaged lines of the journal were passed over"] if damaged else []),
    ]


def _notes_on_records(manifest: Manifest, index: Index) -> Iterator[str]:
    counts, on_tie = manifest.counts, manifest.settings["on_tie"]
    if counts["heldout"]:
        yield f"{counts['heldout']} records are held out for `lorapar eval` and trained on nowhere"
    if counts["undecided"]:
        became = "were dropped, see dropped.jsonl" if on_tie == "drop" else f"became {on_tie}"
        yield f"{counts['undecided']} records without a majority {became}"
    if counts["empty"]:
        yield (
            f"{counts['empty']} records have an empty prompt or completion and were dropped, "
            "see dropped.jsonl"
        )
    if index.bad_count:
        yield f"{index.bad_count} bad lines were left out, first {index.bad[0]}"
    if counts["repeated_ids"]:
        yield f"{counts['repeated_ids']} records repeat an id; it got a suffix like `#2`"
    for name in ("system1", "system2"):
        if counts[name] == 0:
            yield f"no record is {name}: the stages that follow need both systems"


def _notes_on_teachers(ballot: Ballot) -> Iterator[str]:
    for tally in ballot.tallies.values():
        name = tally.teacher.name
        if tally.down or tally.over_budget or tally.left_open > tally.refused:
            yield f"teacher {name} answered {tally.done} of {tally.total}{what_happened(tally)}"
        elif tally.refused:
            yield f"teacher {name} refused {tally.refused} questions: {tally.last_refusal}"
        if tally.uncounted:
            yield f"teacher {name} reported no tokens for {tally.uncounted} answers: estimated"


def what_happened(tally: Tally) -> str:
    """Returns how a teacher's questions ended, as the rest of a sentence."""
    if tally.down:
        return f", then it failed: {tally.down}"
    if tally.over_budget:
        return ", then the budget was used up"
    return f", {tally.left_open} failed again and again"
