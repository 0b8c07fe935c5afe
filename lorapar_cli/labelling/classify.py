"""`classify`: teachers vote on every record, and the labelled splits are written.

Differs from the paper: ties and records without a vote become System 2 by default (the paper does
not say), and some records are held out for `eval`.
"""

import sqlite3
from collections.abc import Sequence

from lorapar_cli.events import Progress, silent
from lorapar_cli.labelling.cost_estimate import CostEstimate, estimate
from lorapar_cli.labelling.holdout import hold_out
from lorapar_cli.labelling.options import MAX_HELD_OUT, ClassifyOptions
from lorapar_cli.labelling.overrides import assign_random_labels, read_review
from lorapar_cli.labelling.resolve import Resolved, resolve
from lorapar_cli.labelling.scratch_database import scratch_database
from lorapar_cli.labelling.split_files import link_or_copy, write_splits
from lorapar_cli.labelling.summary import notes_on, summarise
from lorapar_cli.labelling.teachers.dispatch import RequestPolicy
from lorapar_cli.labelling.teachers.endpoint.client import check_keys
from lorapar_cli.labelling.teachers.rate_limit import REAL_TIME, Clock
from lorapar_cli.labelling.teachers.teacher import Teacher
from lorapar_cli.labelling.votes.aggregate import check_complete, decide, economy_ties_to
from lorapar_cli.labelling.votes.collect import collect_votes
from lorapar_cli.labelling.votes.journal import Journal
from lorapar_cli.labelling.votes.journal_index import JournalIndex
from lorapar_cli.labelling.votes.record_index import RecordIndex, build_index
from lorapar_cli.labelling.votes.vote_patterns import read_patterns
from lorapar_cli.labelling.votes.vote_table import VoteTable
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.stage_records.classify import ClassifyRecord
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.manifest import KnownModel, Manifest, Outcome, write_manifest
from lorapar_cli.store.reuse import reuse
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.working import reuse_or_make


def classify(
    run_dir: RunDir,
    options: ClassifyOptions,
    *,
    given: Sequence[str] = (),
    clock: Clock = REAL_TIME,
    progress: Progress = silent,
) -> Outcome:
    """Labels a data set by its teachers' votes and writes the splits.

    Args:
        given: Names of the options that the user gave, as opposed to defaults.
        clock: What waits and timeouts are measured by.

    Raises:
        LoraparError: The data cannot be read, a teacher fails, the budget is exhausted, or there
            is a tie and `on_tie` is `error`.
        UsageError: An unknown teacher, or a cost limit on a teacher without a price.

    Source: LoRA-PAR Sec. 3.1.
    """
    resolved = resolve(run_dir, options)

    def find() -> Outcome | None:
        done = reuse(resolved.folder, resolved.settings, resolved.inputs, kind=ClassifyOptions)
        complete = done is not None and not _can_be_completed(done.manifest, resolved.teachers)
        return done if complete else None

    def make() -> Outcome:
        base_model = resolved.base_model
        if options.model is not None:
            base_model = _find_model(options.model, options.trust_remote_code)
        manifest = Manifest(
            Stage.CLASSIFY,
            resolved.settings,
            list(given),
            resolved.inputs,
            seed=options.seed,
            base_model=base_model,
        )
        with scratch_database(resolved.folder) as database:
            _label(database, resolved, manifest, clock, progress)
        return Outcome(resolved.folder, manifest)

    return reuse_or_make(resolved.folder, find, make)


def estimate_cost(
    run_dir: RunDir, options: ClassifyOptions, *, progress: Progress = silent
) -> CostEstimate:
    """Returns what `classify` would ask and what it would cost; asks and writes nothing.

    Raises:
        LoraparError, UsageError: As `classify`.
    """
    resolved = resolve(run_dir, options)
    with scratch_database(resolved.folder) as database:
        vote_table, _ = _open_vote_table(database, resolved, progress)
        return estimate(vote_table, economy_ties_to(options))


def _can_be_completed(manifest: Manifest, teachers: list[Teacher]) -> bool:
    """Returns whether a finished result lacks answers that the same command may now get."""
    counts = manifest.record(ClassifyRecord).counts
    if counts.get("unanswered"):
        return True
    rows = [(teacher, counts["teachers"][teacher.name]) for teacher in teachers]
    return any(
        row.get("cut") and teacher.max_tokens > (row.get("max_tokens") or 0)
        for teacher, row in rows
    )


def _find_model(model: str, trust_remote_code: bool) -> KnownModel:
    # torch and transformers take seconds to import, and nothing else here needs them.
    from lorapar_cli.models.base_model import find_base_model

    return find_base_model(model, trust_remote_code).to_manifest()


def _open_vote_table(
    database: sqlite3.Connection, resolved: Resolved, progress: Progress
) -> tuple[VoteTable, JournalIndex]:
    index = build_index(database, resolved.source, resolved.options.seed, progress)
    journal_index = JournalIndex(database, resolved.folder / Artifact.VOTES)
    return VoteTable(index, resolved.teachers, resolved.prompt, journal_index), journal_index


def _label(
    database: sqlite3.Connection,
    resolved: Resolved,
    manifest: Manifest,
    clock: Clock,
    progress: Progress,
) -> None:
    """Collects the votes, decides the labels, completes the manifest and publishes the result."""
    options, economy = resolved.options, economy_ties_to(resolved.options)
    policy = RequestPolicy(
        options.concurrency, options.timeout, options.retries, options.max_cost, clock
    )
    vote_table, journal_index = _open_vote_table(database, resolved, progress)
    _check_askable(vote_table, options.trust_remote_code)
    _override(vote_table.index, options)
    with Journal(resolved.folder / Artifact.VOTES) as journal:
        # Until it was locked, another process may have written to it.
        if journal_index.read_on():
            vote_table.look_up()
        collect_votes(
            vote_table,
            journal,
            policy,
            economy,
            options.trust_remote_code,
            options.student_chain,
            progress,
        )
        check_complete(vote_table, options.min_votes, options.max_cost)
        patterns = read_patterns(vote_table)
        decisions = decide(options, vote_table, patterns)
        record = summarise(vote_table, patterns, decisions, economy)
        manifest.keep(record)
        manifest.notes += notes_on(record, options.on_tie, vote_table, journal_index)
        with new_folder(resolved.folder) as built:
            write_splits(built, vote_table, patterns, decisions, journal, progress)
            link_or_copy(resolved.folder / Artifact.VOTES, built / Artifact.VOTES)
            write_manifest(built, manifest, (Artifact.VOTES,), target=resolved.folder)


def _override(index: RecordIndex, options: ClassifyOptions) -> None:
    """Enters reviewed and random labels, and which records are held out, into the index."""
    if options.review is not None:
        read_review(options.review, index)
    if options.strategy == "random":
        assign_random_labels(index, options.share)
    hold_out(index, options.holdout, MAX_HELD_OUT)


def _check_askable(vote_table: VoteTable, trust_remote_code: bool) -> None:
    """Checks that every teacher with unanswered questions can be asked.

    A teacher whose answers are all in the journal needs no key and no model.
    """
    needed = [
        teacher
        for column, teacher in enumerate(vote_table.teachers)
        if (teacher.missing() or teacher.local) and vote_table.count_waiting(column)
    ]
    check_keys(needed)
    for teacher in needed:
        if teacher.local:
            _find_model(teacher.model, trust_remote_code)
