"""The report's section on the training stages, finished and unfinished."""

from lorapar_cli.names import Stage
from lorapar_cli.stage_records.training import RlRecord, SftRecord, TrainingRecord
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.tools.forgetting import stage_rows, stage_sentence
from lorapar_cli.tools.markdown import list_notes, section, table
from lorapar_cli.tools.rate_search import search_section
from lorapar_cli.tools.run_results import (
    TRAINING,
    RunResults,
    replay_in_words,
    share_active,
    unfinished_trainings,
)
from lorapar_cli.tools.run_status import logged_to


def training_section(run: RunResults) -> str:
    """Returns what the training stages did, as Markdown; empty where none has begun."""
    trained = {stage: run.stages[stage] for stage in TRAINING if stage in run.stages}
    unfinished = [
        f"`{stage}` is unfinished: it has logged step {logged_to(run.directory.folder(stage)):,}."
        for stage in unfinished_trainings(run)
    ]
    if not trained:
        return section("Training", *unfinished) if unfinished else ""
    manifests = list(trained.values())
    records = [manifest.record(TrainingRecord) for manifest in manifests]
    rows = [
        ["records", *(f"{record.counts['trained_records']:,}" for record in records)],
        ["replayed", *map(replay_in_words, manifests)],
        ["steps", *(f"{record.metrics['steps']:,}" for record in records)],
        ["learning rate", *(f"{learning_rate(m):g}" for m in manifests)],
        ["optimizer", *(m.settings["optimizer"] for m in manifests)],
        ["mean loss", *(_loss(stage, m) for stage, m in trained.items())],
        ["last mean reward", *(_reward(stage, m) for stage, m in trained.items())],
        ["completions cut off", *(_clipped(stage, m) for stage, m in trained.items())],
        *stage_rows([record.metrics for record in records]),
        ["active elements", *map(share_active, manifests)],
        ["frozen elements that moved", *(f"{r.counts['frozen_moved']:,}" for r in records)],
        ["processes", *(f"{record.metrics['processes']}" for record in records)],
    ]
    rows = [row for row in rows if any(row[1:])]
    notes = map(list_notes, manifests)
    sentences = [
        f"`{stage}`, {stage_sentence(found)}."
        for stage, record in zip(trained, records, strict=True)
        if (found := record.metrics.get("forgetting")) is not None
    ]
    searches = [
        search_section(stage, search)
        for stage, record in zip(trained, records, strict=True)
        if (search := record.metrics.get("rate_search")) is not None
    ]
    heads = ["", *(stage.value for stage in trained)]
    return section("Training", table(heads, rows), *sentences, *unfinished, *searches, *notes)


def learning_rate(manifest: Manifest) -> float:
    """Returns the rate that a training stage used, which a search may have found."""
    used = manifest.record(TrainingRecord).metrics.get("learning_rate")
    return float(manifest.settings["learning_rate"] if used is None else used)


def _loss(stage: Stage, manifest: Manifest) -> str:
    if stage is not Stage.TRAIN_SFT:
        return ""
    return f"{manifest.record(SftRecord).metrics['loss']:.4f}"


def _reward(stage: Stage, manifest: Manifest) -> str:
    if stage is not Stage.TRAIN_RL:
        return ""
    reward = manifest.record(RlRecord).metrics["reward"]
    return "" if reward is None else f"{reward:.4f}"


def _clipped(stage: Stage, manifest: Manifest) -> str:
    if stage is not Stage.TRAIN_RL:
        return ""
    share = manifest.record(RlRecord).metrics.get("clipped")
    return "" if share is None else f"{share:.1%}"
