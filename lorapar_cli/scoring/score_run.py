"""The steps of one scoring run, each on what the earlier ones returned."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorapar_cli.events import Progress, silent
from lorapar_cli.models.adapter import save_adapter, save_raw_adapter
from lorapar_cli.models.distributed import Processes, join_processes
from lorapar_cli.models.lora_inits import check_init
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments
from lorapar_cli.names import Artifact, System
from lorapar_cli.scoring.checkpoint import SavedSums, partial_folder
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.scored_model import ScoredModel, create_scored_model
from lorapar_cli.scoring.split_half import compare_halves, in_words
from lorapar_cli.scoring.student import EncodedSystem, encode_system, find_student
from lorapar_cli.scoring.system_score import NOISE_THETA, SystemScore, score_system
from lorapar_cli.stage_records.score import Noise, ScoreMetrics, ScoreRecord
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.records import Record
from lorapar_cli.store.tensor_files import layout_fingerprint, write_tensors

Systems = Mapping[System, EncodedSystem]
Scores = Mapping[System, SystemScore]


def check_options(options: ScoreOptions) -> None:
    """Refuses options that contradict each other, before anything is loaded.

    Raises:
        UsageError: The init is unknown, or does not fit the formula or quantised weights.
    """
    check_init(options.init, options.init_scale, options.formula, options.quantize, options.rule)


def run_score(
    target: Path,
    options: ScoreOptions,
    records: Mapping[System, list[Record]],
    manifest: Manifest,
    *,
    save_seconds: float,
    progress: Progress,
) -> None:
    """Creates the adapter, scores its elements on the records and writes the stage folder.

    Args:
        target: The stage folder.
        records: Those of each split.
        manifest: With settings and inputs; the rest is filled in.
        save_seconds: Time between two copies of the sums, from which an interrupted run resumes.

    Raises:
        UsageError: Init, formula and weights do not fit, or all importance is zero.
        LoraparError: The model or the adapter cannot be made, or importance is not finite.
    """
    check_options(options)
    processes = join_processes()
    progress = progress if processes.rank == 0 else silent
    settings = manifest.settings
    template = ChatTemplate(settings["template"], read_arguments(settings["template_arg"]))
    student = find_student(settings["model"], template, options, manifest.notes)
    manifest.base_model = student.base.to_manifest()
    systems = {
        system: encode_system(
            system, own, student, options, samples_given="samples" in manifest.given
        )
        for system, own in records.items()
    }
    scored = create_scored_model(student, list(systems.values()), options, processes, progress)
    scores = {
        system: score_system(
            scored,
            encoded,
            options,
            student,
            processes,
            _saved_sums(target, manifest, scored, system, processes, save_seconds),
            progress,
        )
        for system, encoded in systems.items()
    }
    noise = _compare(systems, scores)
    manifest.layout_fingerprint = layout_fingerprint(
        {name: tuple(values.shape) for name, values in scored.values.items()}
    )
    manifest.keep(_record(systems, scored, scores, noise))
    manifest.notes += _notes(systems, scored, scores, noise)
    if processes.rank == 0:
        _publish(target, options, manifest, scored, scores)
    processes.wait()


def _saved_sums(
    target: Path,
    manifest: Manifest,
    scored: ScoredModel,
    system: System,
    processes: Processes,
    seconds: float,
) -> SavedSums:
    identity: dict[str, Any] = {
        "settings": manifest.settings | {"target_modules": list(scored.values)},
        "inputs": {name: item["sha256"] for name, item in manifest.inputs.items()},
        "base_model": manifest.base_model,
        "system": system.value,
        "processes": processes.count,
    }
    path = partial_folder(target) / f"{system}-{processes.rank}.safetensors"
    return SavedSums(path, identity, seconds)


def _compare(systems: Systems, scores: Scores) -> Noise | None:
    """Returns how far the systems differ beyond sampling noise; None without gradients."""
    first, second = (scores[system].halves for system in System)
    if not first or not second:
        return None
    fewest = min(len(encoded.samples) for encoded in systems.values())
    return compare_halves(first, second, NOISE_THETA, fewest)


def _record(
    systems: Systems, scored: ScoredModel, scores: Scores, noise: Noise | None
) -> ScoreRecord:
    metrics: ScoreMetrics = {
        "step0_logit_difference": scored.step0_difference,
        "step0_largest_logit": scored.step0_largest,
    }
    first, second = (scores[system] for system in System)
    if first.loss is not None:
        metrics["loss_system1"] = first.loss
    if first.seconds is not None:
        metrics["seconds_system1"] = first.seconds
    if second.loss is not None:
        metrics["loss_system2"] = second.loss
    if second.seconds is not None:
        metrics["seconds_system2"] = second.seconds
    if noise is not None:
        metrics["noise"] = noise
    return ScoreRecord(
        counts={
            "samples": {system.value: len(own.samples) for system, own in systems.items()},
            "too_long": {system.value: own.too_long for system, own in systems.items()},
            "elements": sum(values.numel() for values in scored.values.values()),
            "matrices": len(scored.values),
        },
        metrics=metrics,
    )


def _notes(systems: Systems, scored: ScoredModel, scores: Scores, noise: Noise | None) -> list[str]:
    return [
        *(note for encoded in systems.values() for note in encoded.notes),
        *scored.notes,
        *(note for score in scores.values() for note in score.notes),
        *([in_words(noise)] if noise is not None else []),
    ]


def _publish(
    target: Path, options: ScoreOptions, manifest: Manifest, scored: ScoredModel, scores: Scores
) -> None:
    """Writes the stage folder and removes the saved sums."""
    tensors = {
        f"{system}/{name}": values.numpy()
        for system, score in scores.items()
        for name, values in score.importance.items()
    }
    by_formula = options.rule == "importance"
    header = {
        **({"formula": options.formula} if by_formula else {"rule": options.rule}),
        "samples": manifest.counts["samples"],
        "fingerprint": manifest.layout_fingerprint,
    }
    with new_folder(target) as built:
        write_tensors(built / Artifact.IMPORTANCE, tensors, header)
        save_adapter(scored.model, built / Artifact.ADAPTER)
        if scored.raw_rank is not None:
            save_raw_adapter(scored.model, scored.raw_rank, built / Artifact.RAW_ADAPTER)
        write_manifest(built, manifest, target=target)
    shutil.rmtree(partial_folder(target), ignore_errors=True)
