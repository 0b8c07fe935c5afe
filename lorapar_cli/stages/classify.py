"""Stage classify: teachers vote on every record, and the labelled splits are written.

Differs from the paper: ties and records without a vote become System 2 unless told otherwise
(the paper does not say), and some records are held out for `eval`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lorapar_cli.core import trust, voting
from lorapar_cli.core.holdout import choose_held_out, choose_share, held_out_count
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.hub.ballot import Ballot, open_ballot
from lorapar_cli.hub.datasets import Source, open_source
from lorapar_cli.hub.endpoint import check_keys
from lorapar_cli.hub.formats import Fields, empty_side
from lorapar_cli.hub.indexing import Index, build_index
from lorapar_cli.hub.interview import Manner, estimate_tokens
from lorapar_cli.hub.labelling import LabelPrompt, read_prompt
from lorapar_cli.hub.summary import add_notes, summarise, what_happened
from lorapar_cli.hub.teachers import Teacher, find_teachers, identities
from lorapar_cli.names import EMBEDDED, Progress, Stage, System, silent
from lorapar_cli.store.journal import CODES, JOURNAL, Journal, JournalIndex
from lorapar_cli.store.manifest import (
    Manifest,
    Outcome,
    describe_inputs,
    is_up_to_date,
    read_manifest,
    write_manifest,
)
from lorapar_cli.store.publish import new_folder
from lorapar_cli.store.records import read_jsonl
from lorapar_cli.store.rundir import RunDir
from lorapar_cli.store.splits import Verdict, keep_file, write_splits

MOST_HELD_OUT = 500
_TIES_TO = {"system1": voting.SYSTEM1, "system2": voting.SYSTEM2}
_ASSUMED_ANSWER_TOKENS = 60


@dataclass(frozen=True)
class Job:
    """A classify run after everything that the user gave was checked, and before any work."""

    folder: Path
    source: Source
    teachers: list[Teacher]
    prompt: LabelPrompt
    settings: dict[str, Any]
    inputs: dict[str, dict[str, str]]
    review: Path | None
    base_model: dict[str, str | None] | None


@dataclass(frozen=True)
class Estimate:
    """What `--dry-run` tells.

    Attributes:
        rows: By teacher: questions to ask, those in the journal, tokens, and US dollars or None.
        messages: One rendered prompt, empty where no teacher reads one.
    """

    rows: dict[str, dict[str, Any]]
    messages: list[dict[str, str]]
    notes: list[str]


def classify(
    run_dir: RunDir,
    *,
    data: str,
    teachers: list[str],
    model: str | None = None,
    limit: int | None = None,
    holdout: float = 0.05,
    seed: int = 0,
    strategy: str = "vote",
    share: float = 0.5,
    vote: str = "majority",
    on_tie: str = "system2",
    economy: bool = False,
    min_votes: int | None = None,
    review: Path | None = None,
    role_play: bool = True,
    student: str | None = None,
    student_description: str | None = None,
    prompt_template: Path | None = None,
    teachers_file: Path | None = None,
    format: str = "auto",
    prompt_field: str | None = None,
    completion_field: str | None = None,
    id_field: str = "id",
    split: str = "train",
    subset: str | None = None,
    skip_bad: bool = False,
    trust_remote_code: bool = False,
    manner: Manner | None = None,
    dry_run: bool = False,
    out: Path | None = None,
    given: list[str] | None = None,
    progress: Progress = silent,
) -> Outcome | Estimate:
    """Labels a data set by its teachers' votes and writes the splits.

    Args:
        data: A data file, a folder or a hub data set id.
        teachers: Names, `name=model@url` or `hf:PATH`, in the order in which they are asked.
        model: The student, remembered for the stages that follow.
        limit: Use only the first so many records.
        holdout: Share of the records kept apart for `eval`, 0 to below 1; at most 500 records.
        strategy: `vote`, or `random` for labels by chance (the paper's Table 1).
        share: Share of System 2 among random labels, 0 to 1.
        vote: `majority`, or `weighted` by each teacher's estimated reliability.
        on_tie: What a tie, or a record without votes, becomes: a system, `drop` or `error`.
        economy: Ask no teacher whose vote cannot change the label any more.
        min_votes: Votes that suffice for a record when a teacher fails; None wants all teachers.
        review: JSON Lines with `id` and the `label` that a person gave.
        role_play: Let the teachers play the student.
        student: Whom they play; by default the model's name.
        manner: Concurrency, timeout, retries and most cost of the asking.
        dry_run: Return what the asking would take, and do nothing.

    Returns:
        The outcome, or the estimate of a dry run.

    Raises:
        LoraparError: The data cannot be read, a teacher fails, the budget is used up, or there is
            a tie where `on_tie` is `error`.
        UsageError: An unknown teacher or format, or options that contradict each other.

    Source: LoRA-PAR Sec. 3.1.
    """
    manner = manner or Manner()
    _check_numbers(
        {
            "--holdout": holdout,
            "--share": share,
            "--timeout": manner.timeout,
            "--max-cost": manner.max_cost or 0.0,
        }
    )
    chosen = find_teachers(teachers, teachers_file)
    _check_options(chosen, strategy, vote, economy, min_votes, manner)
    fields = Fields(format, prompt_field, completion_field, id_field)
    source = open_source(data, fields, split=split, subset=subset, limit=limit, skip_bad=skip_bad)
    folder = out or run_dir.folder(Stage.CLASSIFY)
    earlier = run_dir.manifest(Stage.CLASSIFY) if out is None else read_manifest(folder)
    remembered = earlier.base_model if earlier is not None else None
    model_id = _model_id(model) if model else (remembered["id"] if remembered else None)
    prompt = read_prompt(
        prompt_template,
        role_play=role_play,
        student=student or _short_name(model_id),
        description=student_description,
    )
    reads_prompt = any(teacher.kind != "rule" for teacher in chosen)
    settings = {
        "teachers": dict(zip([t.name for t in chosen], identities(chosen), strict=True)),
        "strategy": strategy,
        "share": share if strategy == "random" else None,
        "vote": vote,
        "on_tie": on_tie,
        "economy": economy,
        "min_votes": min_votes,
        "role_play": role_play if reads_prompt else None,
        "student": student or _short_name(model_id) if reads_prompt else None,
        "prompt_sha256": prompt.digest if reads_prompt else None,
        "model": model_id,
        "limit": limit,
        "holdout": holdout,
        "seed": seed,
        "format": format,
        "prompt_field": prompt_field,
        "completion_field": completion_field,
        "id_field": id_field,
        "split": split,
        "subset": subset,
        "skip_bad": skip_bad,
    }
    inputs = {"data": source.describe()}
    if review is not None:
        inputs |= describe_inputs({"review": review})
    job = Job(folder, source, chosen, prompt, settings, inputs, review, remembered)
    if dry_run:
        return _estimate(job, progress)
    if is_up_to_date(folder, settings, inputs):
        return Outcome(folder, read_manifest(folder), fresh=False)
    base_model = _find_student(model, trust_remote_code) if model is not None else remembered
    manifest = Manifest(
        Stage.CLASSIFY, settings, given or [], inputs, seed=seed, base_model=base_model
    )
    return _label(job, manifest, manner, trust_remote_code, progress)


def _check_numbers(options: dict[str, float]) -> None:
    """Refuses nan and inf, which pass every check of a range."""
    for name, value in options.items():
        if not math.isfinite(value):
            raise UsageError(f"`{name} {value}` is no number that can be kept")


def _check_options(
    teachers: list[Teacher],
    strategy: str,
    vote: str,
    economy: bool,
    min_votes: int | None,
    manner: Manner,
) -> None:
    if strategy == "vote" and not teachers:
        raise UsageError("no teachers", hint="name them with `--teachers`")
    if strategy == "random" and teachers:
        raise UsageError(
            "`--strategy random` asks no teachers", f"{len(teachers)} are named", "leave them out"
        )
    if vote == "weighted" and len(teachers) < 3:
        raise UsageError(
            "`--vote weighted` needs at least three teachers",
            f"{len(teachers)}: with two nobody can tell which of them errs",
        )
    if vote == "weighted" and economy:
        raise UsageError("`--economy` leaves out votes that `--vote weighted` needs")
    if min_votes is not None and min_votes > len(teachers):
        raise UsageError(f"`--min-votes {min_votes}` is more than the {len(teachers)} teachers")
    unknown = [t.name for t in teachers if t.kind == "api" and t.price is None]
    if manner.max_cost is not None and unknown:
        raise UsageError(
            "`--max-cost` cannot be kept where a price is unknown",
            f"teachers without a price: {', '.join(unknown)}",
            "give their prices under `teachers:` in a file and name it with `--teachers-file`",
        )


def _model_id(model: str) -> str:
    """Returns a model's name as the manifest remembers it: folders by their absolute path."""
    return str(Path(model).resolve()) if model != EMBEDDED and Path(model).is_dir() else model


def _short_name(model: str | None) -> str | None:
    return model.rstrip("/").rsplit("/", 1)[-1] if model else None


def _find_student(model: str, trust_remote_code: bool) -> dict[str, str | None]:
    # torch and transformers take seconds to import, and nothing else here needs them.
    from lorapar_cli.hub.models import find_base_model

    return find_base_model(model, trust_remote_code).to_manifest()


def _estimate(job: Job, progress: Progress) -> Estimate:
    notes: list[str] = []
    index = build_index(job.source, job.settings["seed"], progress)
    ballot = open_ballot(index, job.teachers, job.prompt, JournalIndex(job.folder / JOURNAL))
    open_questions = ballot.unanswered()
    if (economy := _economy(job.settings)) is not None:
        open_questions &= ~ballot.settled(economy)[:, None]
        notes.append("`--economy` asks as many questions as this at most")
    asked = [column for column, teacher in enumerate(job.teachers) if teacher.kind != "rule"]
    tokens, messages = np.zeros(len(job.teachers), np.int64), []
    for row, record in enumerate(index.records() if asked else []):
        chat = job.prompt.messages(record)
        messages = messages or chat
        tokens[asked] += open_questions[row, asked] * estimate_tokens(chat)
    rows = {}
    for column, teacher in enumerate(job.teachers):
        known = ballot.known[teacher.name]
        answer = known.completion_tokens / known.answers if known.completion_tokens else None
        count = int(open_questions[:, column].sum())
        said = int(count * (_ASSUMED_ANSWER_TOKENS if answer is None else answer))
        said = 0 if teacher.kind == "rule" else said
        rows[teacher.name] = {
            "questions": count,
            "from_journal": ballot.cached[teacher.name],
            "prompt_tokens": int(tokens[column]),
            "completion_tokens": said,
            "cost": teacher.price.of(int(tokens[column]), said) if teacher.price else None,
            "price_date": teacher.price.date if teacher.price else None,
        }
    if asked:
        notes.append("prompt tokens are estimated as a quarter of the bytes")
        notes.append(
            f"answers are taken to be as long as those in the journal, else "
            f"{_ASSUMED_ANSWER_TOKENS} tokens; a model that thinks first takes many more"
        )
    unpriced = [name for name, row in rows.items() if row["cost"] is None]
    if unpriced:
        notes.append(f"no price is known for {', '.join(unpriced)}: their cost is not counted")
    if missing := [f"`{t.name}`: {t.missing()}" for t in job.teachers if t.missing()]:
        notes.append(f"cannot be asked yet: {'; '.join(missing)}")
    return Estimate(rows, messages, notes)


def _ties_to(settings: dict[str, Any]) -> int:
    return _TIES_TO.get(settings["on_tie"], voting.UNDECIDED)


def _economy(settings: dict[str, Any]) -> int | None:
    """Returns what a tie becomes where questions are spared, else None."""
    return _ties_to(settings) if settings["economy"] else None


def _label(
    job: Job, manifest: Manifest, manner: Manner, trust_remote_code: bool, progress: Progress
) -> Outcome:
    settings = job.settings
    index = build_index(job.source, settings["seed"], progress)
    _check_askable(job, index, trust_remote_code)
    reviewed = _read_review(job.review, index) if job.review else np.zeros(len(index), np.uint8)
    held_out = _hold_out(index, settings["holdout"])
    with Journal(job.folder / JOURNAL) as journal:
        journaled = JournalIndex(journal.path)
        ballot = open_ballot(index, job.teachers, job.prompt, journaled)
        economy = _economy(settings)
        ballot.ask(journal, manner, economy, trust_remote_code, progress)
        _check_complete(ballot, economy, settings["min_votes"], manner)
        labels = _decide(manifest, index, ballot)
        labels[reviewed > 0] = reviewed[reviewed > 0]
        undecided = (labels == voting.UNDECIDED) & ~index.empty
        if settings["on_tie"] == "error" and undecided.any():
            _refuse_ties(index, undecided)
        labels[undecided] = _ties_to(settings)
        labels[index.empty] = voting.UNDECIDED
        verdict = Verdict(
            [teacher.name for teacher in job.teachers],
            ballot.votes,
            labels,
            voting.agreement(ballot.votes, labels),
            held_out,
            _contested(ballot, index, undecided),
            reviewed > 0,
        )
        summarise(manifest, index, ballot, verdict, undecided, economy)
        add_notes(manifest, ballot, journaled.damaged)
        with new_folder(job.folder) as built:
            write_splits(
                built,
                index.records(),
                verdict,
                lambda row, record: empty_side(record) or "no majority",
                lambda row: _words(ballot, journal, row),
                lambda done: progress("writing", done, len(index)),
            )
            progress("writing", len(index), len(index))
            keep_file(job.folder / JOURNAL, built / JOURNAL)
            write_manifest(built, manifest, skip=(JOURNAL,))
    return Outcome(job.folder, manifest)


def _check_askable(job: Job, index: Index, trust_remote_code: bool) -> None:
    """Raises where a teacher cannot be asked although it would have to be.

    One whose answers are all in the journal needs no key and no model.
    """
    doubtful = [teacher for teacher in job.teachers if teacher.missing() or teacher.kind == "hf"]
    if not doubtful:
        return
    ballot = open_ballot(index, doubtful, job.prompt, JournalIndex(job.folder / JOURNAL))
    waiting = ballot.unanswered().any(axis=0)
    needed = [teacher for teacher, open_ in zip(doubtful, waiting, strict=True) if open_]
    check_keys(needed)
    for teacher in needed:
        if teacher.kind == "hf":
            _find_student(teacher.model, trust_remote_code)


def _read_review(path: Path, index: Index) -> np.ndarray:
    """Returns a person's labels as vote codes, uint8 `[records]`, 0 where there is none."""
    wanted: dict[str, tuple[int, int]] = {}
    for number, line in read_jsonl(path):
        label = line.get("label")
        if label is None and "id" in line:
            continue
        if label not in tuple(System) or "id" not in line:
            raise LoraparError(
                f"`{path}:{number}` is no reviewed record",
                f"id {line.get('id')!r}, label {label!r}",
                "each line needs an `id` and a `label`, system1 or system2",
            )
        wanted[str(line["id"])] = (CODES[System(label)], number)
    reviewed = np.zeros(len(index), np.uint8)
    for row, record in enumerate(index.records()):
        if record.id in wanted:
            reviewed[row] = wanted.pop(record.id)[0]
    if wanted:
        unknown, (_, number) = next(iter(wanted.items()))
        raise LoraparError(
            f"`{path}` has ids that are not in the data",
            f"{len(wanted)}, first `{unknown}` on line {number}",
        )
    return reviewed


def _hold_out(index: Index, share: float) -> np.ndarray:
    """Returns which records are held out, bool; empty ones never are."""
    usable = np.flatnonzero(~index.empty)
    count = held_out_count(len(usable), share, MOST_HELD_OUT)
    held_out = np.zeros(len(index), dtype=bool)
    held_out[usable] = choose_held_out(index.draws[usable], index.prompts[usable], count)
    return held_out


def _check_complete(
    ballot: Ballot, economy: int | None, min_votes: int | None, manner: Manner
) -> None:
    """Raises where questions stayed open and no quorum can decide without their answers."""
    ballot.give_up_refused()
    waiting = ballot.unanswered()
    if economy is not None:
        waiting &= ~ballot.settled(economy)[:, None]
    if not waiting.any():
        return
    first, second = voting.count_votes(ballot.votes)
    if min_votes is not None and (first + second)[waiting.any(axis=1)].min() >= min_votes:
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


def _decide(manifest: Manifest, index: Index, ballot: Ballot) -> np.ndarray:
    """Returns the labels before ties are broken, uint8 `[records]`."""
    settings = manifest.settings
    if settings["strategy"] == "random":
        second = choose_share(index.draws, settings["share"])
        return np.where(second, voting.SYSTEM2, voting.SYSTEM1).astype(np.uint8)
    if settings["vote"] == "majority":
        return voting.majority(ballot.votes)
    estimate = trust.dawid_skene(ballot.votes[~index.empty])
    manifest.metrics["reliability"] = {
        teacher.name: {"system1": float(hits[0]), "system2": float(hits[1])}
        for teacher, hits in zip(ballot.teachers, estimate.hits, strict=True)
    }
    labels = np.zeros(len(index), np.uint8)
    labels[~index.empty] = estimate.labels
    return labels


def _refuse_ties(index: Index, undecided: np.ndarray) -> None:
    first = [r.id for r, tied in zip(index.records(), undecided, strict=True) if tied][:5]
    raise LoraparError(
        f"{int(undecided.sum())} records have no majority, and `--on-tie` is `error`",
        f"ids {', '.join(first)}{', ...' if undecided.sum() > len(first) else ''}",
        "ask an odd number of teachers, or choose `--on-tie system1`, `system2` or `drop`",
    )


def _contested(ballot: Ballot, index: Index, undecided: np.ndarray) -> np.ndarray:
    first, second = voting.count_votes(ballot.votes)
    split = (first > 0) & (second > 0)
    return (split | (undecided & (len(ballot.teachers) > 0))) & ~index.empty


def _words(ballot: Ballot, journal: Journal, row: int) -> dict[str, str]:
    return {
        teacher.name: journal.read_at(int(offset)).get("text", "")
        for teacher, offset in zip(ballot.teachers, ballot.offsets[row], strict=True)
        if offset >= 0
    }
