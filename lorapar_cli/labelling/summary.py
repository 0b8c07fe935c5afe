"""Summary of a classify run: counts, agreement, money, and notes for a person."""

from collections.abc import Iterator

import numpy as np

from lorapar_cli.labelling.options import OnTie
from lorapar_cli.labelling.teachers.tally import TeacherStats, what_happened
from lorapar_cli.labelling.votes import voting
from lorapar_cli.labelling.votes.aggregate import LabelDecisions
from lorapar_cli.labelling.votes.journal_index import JournalIndex
from lorapar_cli.labelling.votes.record_index import RecordIndex, describe_skipped
from lorapar_cli.labelling.votes.reliability import krippendorff_alpha, pairwise_agreement
from lorapar_cli.labelling.votes.vote_patterns import VotePatterns
from lorapar_cli.labelling.votes.vote_table import VoteTable
from lorapar_cli.names import Artifact, System
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.stage_records.classify import (
    ClassifyCounts,
    ClassifyMetrics,
    ClassifyRecord,
    TeacherRow,
)
from lorapar_cli.store.run_dir import MORE_LABELS

# Few enough that sums do not depend on the order of their parts, be it one run or several.
_MONEY_DIGITS = 9


def summarise(
    vote_table: VoteTable,
    patterns: VotePatterns,
    decisions: LabelDecisions,
    economy_ties_to: int | None,
) -> ClassifyRecord:
    """Returns the counts and metrics of a run.

    Args:
        economy_ties_to: What a tie becomes if questions were skipped, else None.
    """
    return ClassifyRecord(
        _counts(vote_table, patterns, decisions, economy_ties_to),
        _metrics(vote_table, patterns, decisions),
    )


def _counts(
    vote_table: VoteTable,
    patterns: VotePatterns,
    decisions: LabelDecisions,
    economy_ties_to: int | None,
) -> ClassifyCounts:
    index, labels, held_out = vote_table.index, decisions.labels, decisions.held_out
    kept = labels != voting.UNDECIDED

    def count(which: np.ndarray) -> int:
        return int(patterns.counts[which].sum())

    votes, rows = vote_table.open_votes()
    paid = [teacher for teacher in vote_table.teachers if teacher.reads_prompt]
    return {
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
        "without_reference": index.without_reference,
        "unused_fields": index.unused,
        "unanswered": int(((votes == voting.UNASKED).sum(axis=1) * rows).sum()),
        "requests_saved": {
            "journal": sum(vote_table.from_journal[teacher.name] for teacher in paid),
            "economy": 0 if economy_ties_to is None else _count_skipped(patterns, economy_ties_to),
            "repeated_records": index.copies * len(paid),
        },
        "teachers": {
            teacher.name: _teacher_row(vote_table, column, patterns)
            for column, teacher in enumerate(vote_table.teachers)
        },
    }


def _count_skipped(patterns: VotePatterns, ties_to: int) -> int:
    """Returns how many questions were skipped because the label was decided without them."""
    waiting = (patterns.votes == voting.UNASKED).sum(axis=1)
    decided = voting.cannot_change(patterns.votes, waiting, ties_to)
    skipped = decided & patterns.first & ~patterns.empty
    return int((waiting * patterns.counts)[skipped].sum())


def _teacher_row(vote_table: VoteTable, column: int, patterns: VotePatterns) -> TeacherRow:
    teacher = vote_table.teachers[column]
    stats = vote_table.stats.get(teacher.name) or TeacherStats(teacher, 0)
    journaled = vote_table.journaled[teacher.name]

    def count(code: int) -> int:
        return int(patterns.counts[patterns.votes[:, column] == code].sum())

    return {
        "system1": count(voting.SYSTEM1),
        "system2": count(voting.SYSTEM2),
        "no_vote": count(voting.NO_VOTE),
        "asked": stats.done,
        "from_journal": vote_table.from_journal[teacher.name],
        "requests": stats.requests,
        "retries": stats.retries,
        "too_many_requests": stats.rate_limited,
        "refused": stats.rejected,
        "cut": vote_table.count_cut(column),
        "max_tokens": teacher.max_tokens if teacher.reads_prompt else None,
        "tokens_estimated": journaled.estimated + stats.estimated,
        "prompt_tokens": journaled.prompt_tokens + stats.prompt_tokens,
        "completion_tokens": journaled.completion_tokens + stats.completion_tokens,
        "cost": round(vote_table.spent_on(teacher), _MONEY_DIGITS) if teacher.price else None,
        "price_date": teacher.price.date if teacher.price else None,
    }


def _metrics(
    vote_table: VoteTable, patterns: VotePatterns, decisions: LabelDecisions
) -> ClassifyMetrics:
    votes, counts, names = patterns.votes, patterns.counts, decisions.teachers
    pairs = pairwise_agreement(votes, counts)
    kept = decisions.labels != voting.UNDECIDED
    voted = kept & np.isfinite(decisions.agreement)
    total = int(counts[voted].sum())
    metrics: ClassifyMetrics = {
        "mean_agreement": float(decisions.agreement[voted] @ counts[voted] / total)
        if total
        else None,
        "krippendorff_alpha": krippendorff_alpha(votes, counts) if len(names) > 1 else None,
        "pairwise_agreement": {
            f"{names[a]}|{names[b]}": None if np.isnan(pairs[a, b]) else float(pairs[a, b])
            for a in range(len(names))
            for b in range(a + 1, len(names))
        },
        "cost": round(vote_table.spent(), _MONEY_DIGITS)
        if all(teacher.price for teacher in vote_table.teachers)
        else None,
    }
    if decisions.reliability is not None:
        metrics["reliability"] = {
            name: {"system1": float(hits[0]), "system2": float(hits[1])}
            for name, hits in zip(names, decisions.reliability.hits, strict=True)
        }
    known = (patterns.truths > 0) & kept
    if known.any():
        metrics["accuracy"] = _accuracy(patterns, decisions, known)
    return metrics


def _accuracy(
    patterns: VotePatterns, decisions: LabelDecisions, known: np.ndarray
) -> dict[str, float]:
    """Returns how often each teacher and the vote agree with the source's own labels.

    A teacher is measured where it voted; one that abstains or was spared is not wrong there.
    """
    votes = {name: patterns.votes[:, column] for column, name in enumerate(decisions.teachers)}
    votes["vote"] = decisions.labels
    found: dict[str, float] = {}
    for name, own in votes.items():
        cast = known & (own > 0)
        if total := int(patterns.counts[cast].sum()):
            found[name] = float(patterns.counts[cast & (own == patterns.truths)].sum() / total)
    return found | {"records": int(patterns.counts[known].sum())}


def notes_on(
    record: ClassifyRecord, on_tie: OnTie, vote_table: VoteTable, journal_index: JournalIndex
) -> list[str]:
    """Returns the sentences that a person should read."""
    return [
        *_notes_on_records(record.counts, on_tie, vote_table.index),
        *_notes_on_teachers(record.counts, vote_table),
        *_notes_on_journal(journal_index),
    ]


def _notes_on_journal(journal_index: JournalIndex) -> Iterator[str]:
    if journal_index.damaged:
        yield (
            f"{counted(journal_index.damaged, 'damaged line')} of the journal "
            f"{inflected(journal_index.damaged, 'was', 'were')} skipped"
        )
        yield f"the first damaged line is `{Artifact.VOTES}:{journal_index.first_damaged}`"


def _notes_on_records(counts: ClassifyCounts, on_tie: OnTie, index: RecordIndex) -> Iterator[str]:
    if counts["heldout"]:
        yield (
            f"{counted(counts['heldout'], 'record')} "
            f"{inflected(counts['heldout'], 'is', 'are')} held out for `lorapar eval` and never trained on"
        )
    if counts["undecided"]:
        dropped = f"{inflected(counts['undecided'], 'was', 'were')} dropped, see {Artifact.DROPPED}"
        became = dropped if on_tie == "drop" else f"became {on_tie}"
        yield f"{counted(counts['undecided'], 'record')} without a majority {became}"
    if counts["empty"]:
        yield (
            f"{counted(counts['empty'], 'record')} with an empty prompt or completion "
            f"{inflected(counts['empty'], 'was', 'were')} dropped, see {Artifact.DROPPED}"
        )
    if index.bad_count:
        yield describe_skipped(index.bad_count, index.bad[0])
    if counts["repeated_ids"]:
        repeat = inflected(counts["repeated_ids"], "repeats", "repeat")
        yield f"{counted(counts['repeated_ids'], 'record')} {repeat} an id and got a suffix like `#2`"
    for system, count in ((System.SYSTEM1, counts["system1"]), (System.SYSTEM2, counts["system2"])):
        if count == 0:
            yield f"no record is {system}, and the following stages need both: {MORE_LABELS}"


def _notes_on_teachers(counts: ClassifyCounts, vote_table: VoteTable) -> Iterator[str]:
    for stats in vote_table.stats.values():
        name = stats.teacher.name
        if stats.down or stats.over_budget or stats.left_open > stats.rejected:
            yield f"teacher {name} answered {stats.done} of {stats.total}{what_happened(stats)}"
        elif stats.rejected:
            rejected = counted(stats.rejected, "question")
            yield f"teacher {name} rejected {rejected}: {stats.last_rejection}"
    for name, row in counts["teachers"].items():
        if row["tokens_estimated"]:
            yield (
                f"teacher {name} reported no tokens for {counted(row['tokens_estimated'], 'answer')}, "
                f"which {inflected(row['tokens_estimated'], 'is', 'are')} estimated"
            )
        if not row["system1"] + row["system2"] and row["no_vote"]:
            yield f"teacher {name} named no label in any of its answers"
        if row["cut"]:
            limit = row["max_tokens"]
            at = "" if limit is None else f" at {counted(limit, 'token')}"
            yield (
                f"teacher {name}: {counted(row['cut'], 'answer')} {inflected(row['cut'], 'was', 'were')} "
                f"truncated{at} before giving a label and "
                f"{inflected(row['cut'], 'counts', 'count')} as no vote; raise `max_tokens` in a "
                f"teachers file (`--teachers-file`) and rerun to ask "
                f"{inflected(row['cut'], 'it', 'them')} again"
            )
    unanswered = counts.get("unanswered")
    if unanswered:
        yield (
            f"{counted(unanswered, 'question')} "
            f"{inflected(unanswered, 'has', 'have')} no answer, as `--min-votes` allows; "
            f"run the same command again to ask {inflected(unanswered, 'it', 'them')}"
        )
