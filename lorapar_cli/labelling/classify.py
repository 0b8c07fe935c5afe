"""Stage classify: teachers vote on every record, and the labelled splits are written.

Differs from the paper: ties and records without a vote become System 2 unless told otherwise
(the paper does not say), and some records are held out for `eval`.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorapar_cli.data.formats import Fields, empty_side
from lorapar_cli.data.readers import Source, open_source
from lorapar_cli.events import Advance, Progress, silent
from lorapar_cli.labelling.cost_estimate import CostEstimate, estimate
from lorapar_cli.labelling.holdout import hold_out
from lorapar_cli.labelling.options import check_numbers, check_options
from lorapar_cli.labelling.overrides import assign_random_labels, read_review
from lorapar_cli.labelling.scratch_database import scratch_database
from lorapar_cli.labelling.split_files import keep_file, write_splits
from lorapar_cli.labelling.summary import add_notes, summarise
from lorapar_cli.labelling.teachers.catalog import find_teachers
from lorapar_cli.labelling.teachers.client import check_keys
from lorapar_cli.labelling.teachers.dispatch import RequestPolicy
from lorapar_cli.labelling.teachers.label_prompt import LabelPrompt, read_prompt
from lorapar_cli.labelling.teachers.teacher import Teacher, identities
from lorapar_cli.labelling.votes.aggregate import (
    LabelDecisions,
    check_complete,
    decide,
    economy_ties_to,
)
from lorapar_cli.labelling.votes.collect import collect_votes
from lorapar_cli.labelling.votes.journal import Journal
from lorapar_cli.labelling.votes.journal_index import JournalIndex
from lorapar_cli.labelling.votes.record_index import build_index
from lorapar_cli.labelling.votes.vote_patterns import VotePatterns, pattern_of_each, read_patterns
from lorapar_cli.labelling.votes.vote_table import VoteTable
from lorapar_cli.names import EMBEDDED, Artifact, Stage
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.manifest import (
    Manifest,
    Outcome,
    describe_inputs,
    is_up_to_date,
    read_manifest,
    write_manifest,
)
from lorapar_cli.store.run_dir import RunDir

MAX_HELD_OUT = 500


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
    policy: RequestPolicy | None = None,
    dry_run: bool = False,
    out: Path | None = None,
    given: list[str] | None = None,
    progress: Progress = silent,
) -> Outcome | CostEstimate:
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
    policy = policy or RequestPolicy()
    check_numbers(
        {
            "--holdout": holdout,
            "--share": share,
            "--timeout": policy.timeout,
            "--max-cost": policy.max_cost or 0.0,
        }
    )
    chosen = find_teachers(teachers, teachers_file)
    check_options(chosen, strategy, vote, economy, min_votes, policy)
    fields = Fields(format, prompt_field, completion_field, id_field)
    source = open_source(data, fields, split=split, subset=subset, limit=limit, skip_bad=skip_bad)
    folder = run_dir.target(Stage.CLASSIFY, out)
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
        with scratch_database(folder) as database:
            vote_table, _ = _open_vote_table(database, job, progress)
            return estimate(vote_table, economy_ties_to(settings))
    if is_up_to_date(folder, settings, inputs):
        known = read_manifest(folder)
        if not _wants_more(known, chosen):
            return Outcome(folder, known, fresh=False)
    base_model = _find_student(model, trust_remote_code) if model is not None else remembered
    manifest = Manifest(
        Stage.CLASSIFY, settings, given or [], inputs, seed=seed, base_model=base_model
    )
    return _label(job, manifest, policy, trust_remote_code, progress)


def _model_id(model: str) -> str:
    """Returns a model's name as the manifest remembers it: folders by their absolute path."""
    return str(Path(model).resolve()) if model != EMBEDDED and Path(model).is_dir() else model


def _short_name(model: str | None) -> str | None:
    return model.rstrip("/").rsplit("/", 1)[-1] if model else None


def _find_student(model: str, trust_remote_code: bool) -> dict[str, str | None]:
    # torch and transformers take seconds to import, and nothing else here needs them.
    from lorapar_cli.models.base_model import find_base_model

    return find_base_model(model, trust_remote_code).to_manifest()


def _wants_more(manifest: Manifest, teachers: list[Teacher]) -> bool:
    """Returns whether a finished result lacks answers that the same command may now get."""
    rows = manifest.counts["teachers"]
    return bool(manifest.counts.get("unanswered")) or any(
        rows[teacher.name].get("cut") and teacher.max_tokens > rows[teacher.name]["max_tokens"]
        for teacher in teachers
    )


def _open_vote_table(
    database: sqlite3.Connection, job: Job, progress: Progress
) -> tuple[VoteTable, JournalIndex]:
    index = build_index(database, job.source, job.settings["seed"], progress)
    journaled = JournalIndex(database, job.folder / Artifact.VOTES)
    return VoteTable(index, job.teachers, job.prompt, journaled), journaled


def _label(
    job: Job, manifest: Manifest, policy: RequestPolicy, trust_remote_code: bool, progress: Progress
) -> Outcome:
    settings = job.settings
    with scratch_database(job.folder) as database:
        vote_table, journaled = _open_vote_table(database, job, progress)
        index = vote_table.index
        _check_askable(vote_table, trust_remote_code)
        if job.review:
            read_review(job.review, index)
        if settings["strategy"] == "random":
            assign_random_labels(index, settings["share"])
        hold_out(index, settings["holdout"], MAX_HELD_OUT)
        with Journal(job.folder / Artifact.VOTES) as journal:
            # Until it was locked, another process may have written to it.
            if journaled.read_on():
                vote_table.look_up()
            economy = economy_ties_to(settings)
            collect_votes(vote_table, journal, policy, economy, trust_remote_code, progress)
            check_complete(vote_table, settings["min_votes"], policy)
            patterns = read_patterns(vote_table)
            decisions = decide(manifest, vote_table, patterns)
            summarise(manifest, vote_table, patterns, decisions, economy)
            add_notes(manifest, vote_table, journaled.damaged)
            _publish(job, manifest, vote_table, patterns, decisions, journal, progress)
    return Outcome(job.folder, manifest)


def _publish(
    job: Job,
    manifest: Manifest,
    vote_table: VoteTable,
    patterns: VotePatterns,
    decisions: LabelDecisions,
    journal: Journal,
    progress: Progress,
) -> None:
    total = len(vote_table.index)
    each = zip(vote_table.index.records(), pattern_of_each(vote_table, patterns), strict=False)

    def words(offsets: tuple[int, ...]) -> dict[str, str]:
        return {
            name: journal.read_at(offset).get("text", "")
            for name, offset in zip(decisions.teachers, offsets, strict=True)
            if offset >= 0
        }

    with new_folder(job.folder) as built:
        write_splits(
            built,
            ((record, pattern, offsets) for record, (pattern, offsets) in each),
            decisions,
            lambda record: empty_side(record) or "no majority",
            words,
            lambda done: progress(Advance("writing", done, total)),
        )
        progress(Advance("writing", total, total))
        keep_file(job.folder / Artifact.VOTES, built / Artifact.VOTES)
        write_manifest(built, manifest, skip=(Artifact.VOTES,))


def _check_askable(vote_table: VoteTable, trust_remote_code: bool) -> None:
    """Raises where a teacher cannot be asked although it would have to be.

    One whose answers are all in the journal needs no key and no model.
    """
    needed = [
        teacher
        for column, teacher in enumerate(vote_table.teachers)
        if (teacher.missing() or teacher.kind == "hf") and vote_table.count_waiting(column)
    ]
    check_keys(needed)
    for teacher in needed:
        if teacher.kind == "hf":
            _find_student(teacher.model, trust_remote_code)
