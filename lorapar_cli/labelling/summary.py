"""What classify tells about its votes: counts, agreement, money, and notes for a person."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lorapar_cli.labelling.teachers.tally import TeacherStats, what_happened
from lorapar_cli.labelling.votes import reliability, voting
from lorapar_cli.labelling.votes.aggregate import LabelDecisions
from lorapar_cli.labelling.votes.record_index import RecordIndex
from lorapar_cli.labelling.votes.vote_patterns import VotePatterns
from lorapar_cli.labelling.votes.vote_table import VoteTable
from lorapar_cli.store.manifest import Manifest

# So far that sums do not tell in which order their parts came, be it one run or several.
_MONEY_DIGITS = 9


def summarise(
    manifest: Manifest,
    vote_table: VoteTable,
    patterns: VotePatterns,
    decisions: LabelDecisions,
    economy: int | None,
) -> None:
    """Fills in the manifest's counts and metrics.

    Args:
        economy: What a tie becomes where questions were spared, else None.
    """
    index, labels, held_out = vote_table.index, decisions.labels, decisions.held_out
    kept = labels != voting.UNDECIDED

    def count(which: np.ndarray) -> int:
        return int(patterns.counts[which].sum())

    votes, waiting = vote_table.open_votes()
    paid = [teacher for teacher in vote_table.teachers if teacher.kind != "rule"]
    manifest.counts = {
        "records": len(index),
        "system1": count((labels == voting.SYSTEM1) & ~held_out),
        "system2": count((labels == voting.SYSTEM2) & ~held_out),
        "heldout": count(kept & held_out),
        "undecided": count(decisions.undecided),
        "contested": count(decisions.contested),
        "reviewed": count(decisions.reviewed),
        "dropped": count(~kept),
        "empty": count(patterns.empty),
        "bad_lines": index.bad_count,
        "repeated_ids": index.repeated_ids,
        "repeated_records": index.copies,
        "unanswered": int(((votes == voting.UNASKED).sum(axis=1) * waiting).sum()),
        "requests_saved": {
            "journal": sum(vote_table.from_journal[teacher.name] for teacher in paid),
            "economy": 0 if economy is None else _count_spared(patterns, economy),
            "repeated_records": index.copies * len(paid),
        },
        "teachers": {
            teacher.name: _counts_of(vote_table, column, patterns)
            for column, teacher in enumerate(vote_table.teachers)
        },
    }
    manifest.metrics |= _metrics(vote_table, patterns, decisions, kept)


def _count_spared(patterns: VotePatterns, ties_to: int) -> int:
    """Returns how many questions were not asked because the label was settled without them."""
    waiting = (patterns.votes == voting.UNASKED).sum(axis=1)
    spared = (
        voting.cannot_change(patterns.votes, waiting, ties_to) & patterns.first & ~patterns.empty
    )
    return int((waiting * patterns.counts)[spared].sum())


def _metrics(
    vote_table: VoteTable, patterns: VotePatterns, decisions: LabelDecisions, kept: np.ndarray
) -> dict[str, Any]:
    votes, counts, names = patterns.votes, patterns.counts, decisions.teachers
    pairs = reliability.pairwise_agreement(votes, counts)
    cast = kept & np.isfinite(decisions.agreement)
    metrics: dict[str, Any] = {
        "mean_agreement": _share(decisions.agreement[cast] @ counts[cast], counts[cast].sum()),
        "krippendorff_alpha": reliability.krippendorff_alpha(votes, counts)
        if len(names) > 1
        else None,
        "pairwise_agreement": {
            f"{names[a]}|{names[b]}": None if np.isnan(pairs[a, b]) else float(pairs[a, b])
            for a in range(len(names))
            for b in range(a + 1, len(names))
        },
        "cost": round(vote_table.spent(), _MONEY_DIGITS)
        if all(teacher.price for teacher in vote_table.teachers)
        else None,
    }
    known = (patterns.truths > 0) & kept
    if known.any():
        right = {name: votes[:, column] == patterns.truths for column, name in enumerate(names)}
        right["vote"] = decisions.labels == patterns.truths
        total = int(counts[known].sum())
        metrics["accuracy"] = {
            name: float(counts[known & hits].sum() / total) for name, hits in right.items()
        } | {"records": total}
    return metrics


def _share(part: float, total: int) -> float | None:
    return float(part / total) if total else None


def _counts_of(vote_table: VoteTable, column: int, patterns: VotePatterns) -> dict[str, Any]:
    teacher = vote_table.teachers[column]
    stats = vote_table.stats.get(teacher.name) or TeacherStats(teacher, 0)
    known = vote_table.journaled[teacher.name]
    codes = {"system1": voting.SYSTEM1, "system2": voting.SYSTEM2, "no_vote": voting.NO_VOTE}
    return {
        name: int(patterns.counts[patterns.votes[:, column] == code].sum())
        for name, code in codes.items()
    } | {
        "asked": stats.done,
        "from_journal": vote_table.from_journal[teacher.name],
        "requests": stats.requests,
        "retries": stats.retries,
        "too_many_requests": stats.rate_limited,
        "refused": stats.rejected,
        "cut": vote_table.count_cut(column),
        "max_tokens": None if teacher.kind == "rule" else teacher.max_tokens,
        "tokens_estimated": known.estimated + stats.estimated,
        "prompt_tokens": known.prompt_tokens + stats.prompt_tokens,
        "completion_tokens": known.completion_tokens + stats.completion_tokens,
        "cost": round(vote_table.spent_on(teacher), _MONEY_DIGITS) if teacher.price else None,
        "price_date": teacher.price.date if teacher.price else None,
    }


def add_notes(manifest: Manifest, vote_table: VoteTable, damaged: int) -> None:
    """Adds the sentences that a person should read to the manifest, which has its counts."""
    manifest.notes += [
        *_notes_on_records(manifest, vote_table.index),
        *_notes_on_teachers(vote_table, manifest.counts),
        *([f"{damaged} damaged lines of the journal were passed over"] if damaged else []),
    ]


def _notes_on_records(manifest: Manifest, index: RecordIndex) -> Iterator[str]:
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


def _notes_on_teachers(vote_table: VoteTable, counts: dict[str, Any]) -> Iterator[str]:
    for stats in vote_table.stats.values():
        name = stats.teacher.name
        if stats.down or stats.over_budget or stats.left_open > stats.rejected:
            yield f"teacher {name} answered {stats.done} of {stats.total}{what_happened(stats)}"
        elif stats.rejected:
            yield f"teacher {name} refused {stats.rejected} questions: {stats.last_rejection}"
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
