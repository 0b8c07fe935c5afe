"""What classify tells about its votes: counts, agreement, money, and notes for a person."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lorapar_cli.labelling.teachers.tally import Tally, what_happened
from lorapar_cli.labelling.votes import reliability as trust
from lorapar_cli.labelling.votes import voting
from lorapar_cli.labelling.votes.aggregate import Verdict
from lorapar_cli.labelling.votes.record_index import Index
from lorapar_cli.labelling.votes.vote_patterns import Kinds
from lorapar_cli.labelling.votes.vote_table import Ballot
from lorapar_cli.store.manifest import Manifest

# So far that sums do not tell in which order their parts came, be it one run or several.
_MONEY_DIGITS = 9


def summarise(
    manifest: Manifest, ballot: Ballot, kinds: Kinds, verdict: Verdict, economy: int | None
) -> None:
    """Fills in the manifest's counts and metrics.

    Args:
        economy: What a tie becomes where questions were spared, else None.
    """
    index, labels, held_out = ballot.index, verdict.labels, verdict.held_out
    kept = labels != voting.UNDECIDED

    def count(which: np.ndarray) -> int:
        return int(kinds.counts[which].sum())

    votes, waiting = ballot.open_votes()
    paid = [teacher for teacher in ballot.teachers if teacher.kind != "rule"]
    manifest.counts = {
        "records": len(index),
        "system1": count((labels == voting.SYSTEM1) & ~held_out),
        "system2": count((labels == voting.SYSTEM2) & ~held_out),
        "heldout": count(kept & held_out),
        "undecided": count(verdict.undecided),
        "contested": count(verdict.contested),
        "reviewed": count(verdict.reviewed),
        "dropped": count(~kept),
        "empty": count(kinds.empty),
        "bad_lines": index.bad_count,
        "repeated_ids": index.repeated_ids,
        "repeated_records": index.copies,
        "unanswered": int(((votes == voting.UNASKED).sum(axis=1) * waiting).sum()),
        "requests_saved": {
            "journal": sum(ballot.cached[teacher.name] for teacher in paid),
            "economy": 0 if economy is None else _count_spared(kinds, economy),
            "repeated_records": index.copies * len(paid),
        },
        "teachers": {
            teacher.name: _counts_of(ballot, column, kinds)
            for column, teacher in enumerate(ballot.teachers)
        },
    }
    manifest.metrics |= _metrics(ballot, kinds, verdict, kept)


def _count_spared(kinds: Kinds, ties_to: int) -> int:
    """Returns how many questions were not asked because the label was settled without them."""
    waiting = (kinds.votes == voting.UNASKED).sum(axis=1)
    spared = voting.settled(kinds.votes, waiting, ties_to) & kinds.first & ~kinds.empty
    return int((waiting * kinds.counts)[spared].sum())


def _metrics(ballot: Ballot, kinds: Kinds, verdict: Verdict, kept: np.ndarray) -> dict[str, Any]:
    votes, counts, names = kinds.votes, kinds.counts, verdict.teachers
    pairs = trust.pairwise_agreement(votes, counts)
    cast = kept & np.isfinite(verdict.agreement)
    metrics: dict[str, Any] = {
        "mean_agreement": _share(verdict.agreement[cast] @ counts[cast], counts[cast].sum()),
        "krippendorff_alpha": trust.krippendorff_alpha(votes, counts) if len(names) > 1 else None,
        "pairwise_agreement": {
            f"{names[a]}|{names[b]}": None if np.isnan(pairs[a, b]) else float(pairs[a, b])
            for a in range(len(names))
            for b in range(a + 1, len(names))
        },
        "cost": round(ballot.spent(), _MONEY_DIGITS)
        if all(teacher.price for teacher in ballot.teachers)
        else None,
    }
    known = (kinds.truths > 0) & kept
    if known.any():
        right = {name: votes[:, column] == kinds.truths for column, name in enumerate(names)}
        right["vote"] = verdict.labels == kinds.truths
        total = int(counts[known].sum())
        metrics["accuracy"] = {
            name: float(counts[known & hits].sum() / total) for name, hits in right.items()
        } | {"records": total}
    return metrics


def _share(part: float, total: int) -> float | None:
    return float(part / total) if total else None


def _counts_of(ballot: Ballot, column: int, kinds: Kinds) -> dict[str, Any]:
    teacher = ballot.teachers[column]
    tally = ballot.tallies.get(teacher.name) or Tally(teacher, 0)
    known = ballot.known[teacher.name]
    codes = {"system1": voting.SYSTEM1, "system2": voting.SYSTEM2, "no_vote": voting.NO_VOTE}
    return {
        name: int(kinds.counts[kinds.votes[:, column] == code].sum())
        for name, code in codes.items()
    } | {
        "asked": tally.done,
        "from_journal": ballot.cached[teacher.name],
        "requests": tally.requests,
        "retries": tally.retries,
        "too_many_requests": tally.slowed,
        "refused": tally.refused,
        "cut": ballot.count_cut(column),
        "max_tokens": None if teacher.kind == "rule" else teacher.max_tokens,
        "tokens_estimated": known.estimated + tally.estimated,
        "prompt_tokens": known.prompt_tokens + tally.prompt_tokens,
        "completion_tokens": known.completion_tokens + tally.completion_tokens,
        "cost": round(ballot.spent_on(teacher), _MONEY_DIGITS) if teacher.price else None,
        "price_date": teacher.price.date if teacher.price else None,
    }


def add_notes(manifest: Manifest, ballot: Ballot, damaged: int) -> None:
    """Adds the sentences that a person should read to the manifest, which has its counts."""
    manifest.notes += [
        *_notes_on_records(manifest, ballot.index),
        *_notes_on_teachers(ballot, manifest.counts),
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


def _notes_on_teachers(ballot: Ballot, counts: dict[str, Any]) -> Iterator[str]:
    for tally in ballot.tallies.values():
        name = tally.teacher.name
        if tally.down or tally.over_budget or tally.left_open > tally.refused:
            yield f"teacher {name} answered {tally.done} of {tally.total}{what_happened(tally)}"
        elif tally.refused:
            yield f"teacher {name} refused {tally.refused} questions: {tally.last_refusal}"
    for name, row in counts["teachers"].items():
        if row["tokens_estimated"]:
            yield f"teacher {name} reported no tokens for {row['tokens_estimated']} answers: estimated"
        if row["cut"]:
            yield (
                f"teacher {name}: {row['cut']} answers were cut off at {row['max_tokens']} tokens "
                "before they named a label, and count as no vote; with a higher `max_tokens` in a "
                "teachers file (`--teachers-file`) the same command asks for these again"
            )
    if counts["unanswered"]:
        yield (
            f"{counts['unanswered']} questions have no answer: `--min-votes` decided without; "
            "the same command asks them again"
        )
