"""Stage classify: teachers vote on every record, and the labelled splits are written."""

import os
import shutil
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from lorapar_cli.core import voting
from lorapar_cli.core.holdout import choose_held_out, held_out_count
from lorapar_cli.errors import LoraparError
from lorapar_cli.hub.datasets import Source, open_source
from lorapar_cli.hub.formats import Fields
from lorapar_cli.hub.indexing import Index, build_index
from lorapar_cli.hub.rules import RULES
from lorapar_cli.hub.teachers import Teacher, answer_key, find_teachers
from lorapar_cli.names import Progress, Stage, System, silent
from lorapar_cli.store.journal import CODES, JOURNAL, Answer, Journal, short_key
from lorapar_cli.store.manifest import (
    Manifest,
    Outcome,
    is_up_to_date,
    read_manifest,
    write_manifest,
)
from lorapar_cli.store.publish import new_folder
from lorapar_cli.store.records import Record, to_line
from lorapar_cli.store.rundir import RunDir

MOST_HELD_OUT = 500
_SYSTEMS = {1: System.SYSTEM1, 2: System.SYSTEM2, voting.NO_VOTE: None}
_ON_TIE = {"system1": voting.SYSTEM1, "system2": voting.SYSTEM2}


@dataclass
class Ballot:
    """What the teachers said.

    Attributes:
        votes: uint8 `[records, teachers]`, the codes of `core.voting`.
        offsets: int64 `[records, teachers]`, where the journal holds the words, -1 if nowhere.
        asked: Teacher name -> answers that this run asked for.
        cached: Teacher name -> answers that were in the journal already.
    """

    votes: np.ndarray
    offsets: np.ndarray
    asked: Counter = field(default_factory=Counter)
    cached: Counter = field(default_factory=Counter)


def classify(
    run_dir: RunDir,
    *,
    data: str,
    teachers: list[str],
    model: str | None = None,
    limit: int | None = None,
    holdout: float = 0.05,
    seed: int = 0,
    on_tie: str = "system2",
    format: str = "auto",
    prompt_field: str | None = None,
    completion_field: str | None = None,
    id_field: str = "id",
    split: str = "train",
    subset: str | None = None,
    skip_bad: bool = False,
    trust_remote_code: bool = False,
    out: Path | None = None,
    given: list[str] | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Labels a data set by its teachers' votes and writes the splits.

    Args:
        data: A data file, a folder or a hub data set id.
        teachers: Their names, in the order in which they are asked.
        model: The student, remembered for the stages that follow.
        limit: Use only the first so many records.
        holdout: Share of the records kept apart for `eval`, 0 to below 1; at most 500 records.
        on_tie: What a tie, or a record without votes, becomes: a system, `drop` or `error`.

    Raises:
        LoraparError: The data cannot be read, or a tie where `on_tie` is `error`.
        UsageError: An unknown teacher or format.
    """
    chosen = find_teachers(teachers)
    fields = Fields(format, prompt_field, completion_field, id_field)
    source = open_source(data, fields, split=split, subset=subset, limit=limit, skip_bad=skip_bad)
    folder = out or run_dir.folder(Stage.CLASSIFY)
    earlier = run_dir.manifest(Stage.CLASSIFY) if out is None else read_manifest(folder)
    remembered = earlier.base_model if earlier is not None else None
    settings = {
        "teachers": {teacher.name: teacher.model for teacher in chosen},
        "model": model or (remembered["id"] if remembered else None),
        "limit": limit,
        "holdout": holdout,
        "seed": seed,
        "on_tie": on_tie,
        "format": format,
        "prompt_field": prompt_field,
        "completion_field": completion_field,
        "id_field": id_field,
        "split": split,
        "subset": subset,
        "skip_bad": skip_bad,
    }
    inputs = {"data": source.describe()}
    if is_up_to_date(folder, settings, inputs):
        return Outcome(folder, read_manifest(folder), fresh=False)
    manifest = Manifest(
        Stage.CLASSIFY, settings, given or [], inputs, seed=seed, base_model=remembered
    )
    if model is not None:
        manifest.base_model = _find_student(model, trust_remote_code)
        settings["model"] = model

    index = build_index(source, seed, progress)
    held_out = _hold_out(index, holdout)
    with Journal(folder / JOURNAL) as journal:
        ballot = _ask(index, chosen, journal, progress)
        labels = voting.majority(ballot.votes)
        undecided = (labels == voting.UNDECIDED) & ~index.empty
        if on_tie == "error" and undecided.any():
            _refuse_ties(index, undecided)
        labels[undecided] = _ON_TIE.get(on_tie, voting.UNDECIDED)
        _summarise(manifest, index, chosen, ballot, labels, held_out, undecided)
        with new_folder(folder) as built:
            _write_splits(built, index, chosen, ballot, labels, held_out, progress)
            _keep_journal(folder / JOURNAL, built / JOURNAL)
            write_manifest(built, manifest, skip=(JOURNAL,))
    return Outcome(folder, manifest)


def _find_student(model: str, trust_remote_code: bool) -> dict[str, str | None]:
    # torch and transformers take seconds to import, and nothing else here needs them.
    from lorapar_cli.hub.models import find_base_model

    return find_base_model(model, trust_remote_code).to_manifest()


def _hold_out(index: Index, share: float) -> np.ndarray:
    """Returns which records are held out, bool; empty ones never are."""
    usable = np.flatnonzero(~index.empty)
    count = held_out_count(len(usable), share, MOST_HELD_OUT)
    held_out = np.zeros(len(index), dtype=bool)
    held_out[usable] = choose_held_out(index.draws[usable], index.prompts[usable], count)
    return held_out


def _ask(index: Index, teachers: list[Teacher], journal: Journal, progress: Progress) -> Ballot:
    shape = (len(index), len(teachers))
    ballot = Ballot(np.zeros(shape, np.uint8), np.full(shape, -1, np.int64))
    journaled = journal.index()
    for column, teacher in enumerate(teachers):
        keys = (answer_key(teacher, "", index.digest(i)) for i in range(len(index)))
        short = np.fromiter((short_key(key) for key in keys), np.uint64, len(index))
        codes, offsets = journaled.look_up(short)
        wanted = (codes == voting.UNASKED) & (index.owners == np.arange(len(index)))
        wanted &= ~index.empty
        ballot.cached[teacher.name] = int((codes != voting.UNASKED).sum())
        if wanted.any():
            _ask_rule(index, teacher, wanted, codes, offsets, journal, progress)
        ballot.asked[teacher.name] = int(wanted.sum())
        ballot.votes[:, column] = codes[index.owners]
        ballot.offsets[:, column] = offsets[index.owners]
    return ballot


def _ask_rule(
    index: Index,
    teacher: Teacher,
    wanted: np.ndarray,
    codes: np.ndarray,
    offsets: np.ndarray,
    journal: Journal,
    progress: Progress,
) -> None:
    _, rule = RULES[teacher.name]
    for i, record in enumerate(index.records()):
        if not wanted[i]:
            continue
        vote, reason = rule(record)
        key = answer_key(teacher, "", index.digest(i))
        offsets[i] = journal.append(
            Answer(key, teacher.name, teacher.model, record.id, vote, reason)
        )
        codes[i] = CODES[vote]
        progress(teacher.name, i + 1, len(index))


def _refuse_ties(index: Index, undecided: np.ndarray) -> None:
    first = [r.id for r, tied in zip(index.records(), undecided, strict=True) if tied][:5]
    raise LoraparError(
        f"{int(undecided.sum())} records have no majority, and `--on-tie` is `error`",
        f"ids {', '.join(first)}{', ...' if undecided.sum() > len(first) else ''}",
        "ask an odd number of teachers, or choose `--on-tie system1`, `system2` or `drop`",
    )


def _summarise(
    manifest: Manifest,
    index: Index,
    teachers: list[Teacher],
    ballot: Ballot,
    labels: np.ndarray,
    held_out: np.ndarray,
    undecided: np.ndarray,
) -> None:
    source: Source = index.source
    kept = (labels != voting.UNDECIDED) & ~index.empty
    split = kept & ~held_out
    manifest.counts = {
        "records": len(index),
        "system1": int((labels[split] == voting.SYSTEM1).sum()),
        "system2": int((labels[split] == voting.SYSTEM2).sum()),
        "heldout": int((kept & held_out).sum()),
        "undecided": int(undecided.sum()),
        "dropped": int((~kept).sum()),
        "empty": int(index.empty.sum()),
        "bad_lines": source.bad_count,
        "repeated_ids": index.repeated_ids(),
        "repeated_records": int((index.owners != np.arange(len(index))).sum()),
        "teachers": {
            teacher.name: {
                "system1": int((ballot.votes[:, i] == voting.SYSTEM1).sum()),
                "system2": int((ballot.votes[:, i] == voting.SYSTEM2).sum()),
                "no_vote": int((ballot.votes[:, i] == voting.NO_VOTE).sum()),
                "asked": ballot.asked[teacher.name],
                "from_journal": ballot.cached[teacher.name],
            }
            for i, teacher in enumerate(teachers)
        },
    }
    manifest.metrics = {"mean_agreement": _mean(voting.agreement(ballot.votes, labels)[kept])}
    known = (index.truths > 0) & kept
    if known.any():
        manifest.metrics["accuracy"] = _accuracies(index.truths, known, teachers, ballot, labels)
    manifest.notes = _notes(manifest, source)


def _mean(values: np.ndarray) -> float | None:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _accuracies(
    truths: np.ndarray,
    known: np.ndarray,
    teachers: list[Teacher],
    ballot: Ballot,
    labels: np.ndarray,
) -> dict[str, Any]:
    """Returns how often each teacher and the vote are right by the source's own labels."""
    right = {t.name: ballot.votes[:, i] == truths for i, t in enumerate(teachers)}
    right["vote"] = labels == truths
    return {name: float(hits[known].mean()) for name, hits in right.items()} | {
        "records": int(known.sum())
    }


def _notes(manifest: Manifest, source: Source) -> list[str]:
    counts, notes = manifest.counts, []
    if counts["heldout"]:
        notes.append(
            f"{counts['heldout']} records are held out for `lorapar eval` and trained on nowhere"
        )
    if counts["undecided"]:
        on_tie = manifest.settings["on_tie"]
        became = "were dropped" if on_tie == "drop" else f"became {on_tie}"
        notes.append(f"{counts['undecided']} records without a majority {became}")
    if counts["empty"]:
        notes.append(
            f"{counts['empty']} records have an empty prompt or completion and were dropped, "
            "see dropped.jsonl"
        )
    if source.bad_count:
        notes.append(f"{source.bad_count} bad lines were left out, first {source.bad[0]}")
    if counts["repeated_ids"]:
        notes.append(f"{counts['repeated_ids']} records repeat an id; it got a suffix like `#2`")
    for name in ("system1", "system2"):
        if counts[name] == 0:
            notes.append(f"no record is {name}: the stages that follow need both systems")
    return notes


def _write_splits(
    built: Path,
    index: Index,
    teachers: list[Teacher],
    ballot: Ballot,
    labels: np.ndarray,
    held_out: np.ndarray,
    progress: Progress,
) -> None:
    shares = voting.agreement(ballot.votes, labels)
    with ExitStack() as stack:

        def create(name: str) -> IO:
            return stack.enter_context(
                open(built / f"{name}.jsonl", "w", encoding="utf-8", newline="\n")
            )

        files = {name: create(name) for name in ("labels", "system1", "system2", "heldout")}
        kept_none = index.empty | (labels == voting.UNDECIDED)
        if kept_none.any():
            files["dropped"] = create("dropped")
        for i, record in enumerate(index.records()):
            votes = {
                teacher.name: _SYSTEMS[int(code)]
                for teacher, code in zip(teachers, ballot.votes[i], strict=True)
                if code != voting.UNASKED
            }
            label = _SYSTEMS.get(int(labels[i])) if not kept_none[i] else None
            share = None if np.isnan(shares[i]) else round(float(shares[i]), 6)
            line = to_line(replace(record, label=label, votes=votes, agreement=share).to_json())
            for name in _files_of(record, label, bool(held_out[i])):
                files[name].write(line)
            if i % 1000 == 0:
                progress("writing", i, len(index))
        progress("writing", len(index), len(index))


def _files_of(record: Record, label: System | None, held_out: bool) -> tuple[str, ...]:
    if label is None:
        return ("dropped",)
    return ("heldout",) if held_out else ("labels", label.value)


def _keep_journal(journal: Path, beside: Path) -> None:
    """Makes the journal part of the new folder too: it goes on across reruns."""
    try:
        os.link(journal, beside)
    except OSError:
        shutil.copyfile(journal, beside)
