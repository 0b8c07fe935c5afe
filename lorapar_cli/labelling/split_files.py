"""The labelled splits of `classify`, written record by record."""

import os
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from lorapar_cli.data.formats import empty_side
from lorapar_cli.events import Advance, Progress
from lorapar_cli.labelling.teachers.student import read_score
from lorapar_cli.labelling.votes.aggregate import LabelDecisions
from lorapar_cli.labelling.votes.journal import Journal
from lorapar_cli.labelling.votes.vote_patterns import VotePatterns, pattern_of_each
from lorapar_cli.labelling.votes.vote_table import VoteTable
from lorapar_cli.labelling.votes.voting import NO_VOTE, SYSTEM1, SYSTEM2, UNDECIDED
from lorapar_cli.names import Artifact, System, split_file
from lorapar_cli.store.records import Record, to_line

_SYSTEMS = {SYSTEM1: System.SYSTEM1, SYSTEM2: System.SYSTEM2, NO_VOTE: None}
_SHOWN_EVERY = 1000


def write_splits(
    folder: Path,
    vote_table: VoteTable,
    patterns: VotePatterns,
    decisions: LabelDecisions,
    journal: Journal,
    progress: Progress,
) -> None:
    """Writes all labels, the two splits, held-out, dropped and contested records.

    The latter two files exist only if they have lines.

    Args:
        folder: Not published yet, so the files need not be written atomically.
    """
    total = len(vote_table.index)
    kinds = [teacher.kind for teacher in vote_table.teachers]
    student = kinds.index("student") if "student" in kinds else None
    with ExitStack() as stack:
        files: dict[str, IO[str]] = {
            name: stack.enter_context(open(folder / name, "w", encoding="utf-8", newline="\n"))
            for name in _file_names(decisions)
        }
        each = zip(vote_table.index.records(), pattern_of_each(vote_table, patterns), strict=False)
        for number, (record, (pattern, offsets)) in enumerate(each):
            _write_record(files, record, pattern, offsets, decisions, journal, student)
            if number % _SHOWN_EVERY == 0:
                progress(Advance("writing", number, total))
    progress(Advance("writing", total, total))


def _file_names(decisions: LabelDecisions) -> list[str]:
    names: list[str] = [Artifact.LABELS, *map(split_file, System), Artifact.HELD_OUT]
    if (decisions.labels == UNDECIDED).any():
        names.append(Artifact.DROPPED)
    if decisions.contested.any():
        names.append(Artifact.DISAGREEMENTS)
    return names


def _write_record(
    files: dict[str, IO[str]],
    record: Record,
    pattern: int,
    offsets: tuple[int, ...],
    decisions: LabelDecisions,
    journal: Journal,
    student: int | None,
) -> None:
    scores = _student_scores(offsets, student, journal)
    labelled = _labelled(record, decisions, pattern, scores).to_json()
    if labelled["label"] is None:
        labelled["dropped"] = empty_side(record) or "no majority"
    line = to_line(labelled)
    for name in _files_of(labelled["label"], bool(decisions.held_out[pattern])):
        files[name].write(line)
    if decisions.contested[pattern]:
        words = {
            teacher: journal.read_at(offset).get("text", "")
            for teacher, offset in zip(decisions.teachers, offsets, strict=True)
            if offset >= 0
        }
        files[Artifact.DISAGREEMENTS].write(to_line(labelled | {"words": words}))


def _student_scores(
    offsets: tuple[int, ...], student: int | None, journal: Journal
) -> dict[str, Any]:
    """Returns the field with the student's scores, nothing where it was not asked.

    Args:
        student: Column of the student, None where it is no teacher.
    """
    if student is None or offsets[student] < 0:
        return {}
    scores = read_score(str(journal.read_at(offsets[student]).get("text", "")))
    return {} if scores is None else {"student_scores": scores}


def _labelled(
    record: Record, decisions: LabelDecisions, pattern: int, scores: dict[str, Any]
) -> Record:
    share = decisions.agreement[pattern]
    votes = {
        teacher: _SYSTEMS[int(code)]
        for teacher, code in zip(decisions.teachers, decisions.votes[pattern], strict=True)
        if int(code) in _SYSTEMS
    }
    return replace(
        record,
        label=_SYSTEMS.get(int(decisions.labels[pattern])),
        votes=votes,
        agreement=None if np.isnan(share) else round(float(share), 6),
        extra=record.extra | ({"reviewed": True} if decisions.reviewed[pattern] else {}) | scores,
    )


def _files_of(label: System | None, held_out: bool) -> tuple[str, ...]:
    if label is None:
        return (Artifact.DROPPED,)
    return (Artifact.HELD_OUT,) if held_out else (Artifact.LABELS, split_file(label))


def link_or_copy(path: Path, target: Path) -> None:
    """Makes a file appear under a second path, by a hard link if the disk can, else by a copy."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
