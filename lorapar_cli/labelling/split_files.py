"""The labelled splits of `classify`, written record by record."""

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from lorapar_cli.labelling.votes.aggregate import LabelDecisions
from lorapar_cli.labelling.votes.voting import NO_VOTE, SYSTEM1, SYSTEM2, UNDECIDED
from lorapar_cli.names import System
from lorapar_cli.store.records import Record, to_line

_SYSTEMS = {SYSTEM1: System.SYSTEM1, SYSTEM2: System.SYSTEM2, NO_VOTE: None}


# A record, its pattern, and where the journal holds each teacher's words on it, -1 if nowhere.
Judged = tuple[Record, int, tuple[int, ...]]


def write_splits(
    folder: Path,
    records: Iterable[Judged],
    decisions: LabelDecisions,
    why_dropped: Callable[[Record], str],
    words: Callable[[tuple[int, ...]], dict[str, str]],
    written: Callable[[int], None],
) -> None:
    """Writes labels, system1, system2, heldout, and dropped and disagreements where there are any.

    Args:
        folder: Where; it is not yet published, so the files need no care of their own.
        why_dropped: Says why a record without a label has none.
        words: The teachers' words on a contested record, by teacher.
        written: Called with the number of records done, now and then.
    """
    with ExitStack() as stack:

        def create(name: str) -> IO[str]:
            path = folder / f"{name}.jsonl"
            return stack.enter_context(open(path, "w", encoding="utf-8", newline="\n"))

        files = {name: create(name) for name in ("labels", "system1", "system2", "heldout")}
        if (decisions.labels == UNDECIDED).any():
            files["dropped"] = create("dropped")
        if decisions.contested.any():
            files["disagreements"] = create("disagreements")
        for number, (record, pattern, offsets) in enumerate(records):
            labelled = _labelled(record, decisions, pattern).to_json()
            if labelled["label"] is None:
                labelled["dropped"] = why_dropped(record)
            line = to_line(labelled)
            for name in _files_of(labelled["label"], bool(decisions.held_out[pattern])):
                files[name].write(line)
            if decisions.contested[pattern]:
                files["disagreements"].write(to_line(labelled | {"words": words(offsets)}))
            if number % 1000 == 0:
                written(number)


def _labelled(record: Record, decisions: LabelDecisions, pattern: int) -> Record:
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
        extra=record.extra | ({"reviewed": True} if decisions.reviewed[pattern] else {}),
    )


def _files_of(label: System | None, held_out: bool) -> tuple[str, ...]:
    if label is None:
        return ("dropped",)
    return ("heldout",) if held_out else ("labels", str(label))


def keep_file(path: Path, beside: Path) -> None:
    """Makes a file stand in a second place too, by a link where the disk can, else by a copy."""
    try:
        os.link(path, beside)
    except OSError:
        shutil.copyfile(path, beside)
