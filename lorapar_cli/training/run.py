"""What both training stages share: from a prepared job to a published adapter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Generic, TypeVar

import torch
from transformers import PrinterCallback
from transformers.trainer_callback import ProgressCallback

from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Progress, silent
from lorapar_cli.models.base_model import BaseModel, find_base_model, pick_device
from lorapar_cli.models.distributed import Processes, join_processes
from lorapar_cli.names import Artifact, Flag
from lorapar_cli.stage_records.training import (
    DryRunFigures,
    DryRunRecord,
    LaunchMetrics,
    MaskedElements,
    MovedElements,
    RlFigures,
    SftFigures,
    TrainedRecords,
    TrainingRecord,
)
from lorapar_cli.store.checkpoints import last_checkpoint, read_mark
from lorapar_cli.store.manifest import Manifest, Outcome, read_manifest
from lorapar_cli.store.resumable_folder import (
    finish_working_folder,
    identity_digest,
    open_working_folder,
)
from lorapar_cli.store.reuse import reuse
from lorapar_cli.store.step_log import StepLog
from lorapar_cli.store.tensor_files import layout_fingerprint
from lorapar_cli.store.working import working_in
from lorapar_cli.training.callbacks import GradientMonitor, StageCallback
from lorapar_cli.training.dry_run import DryRun, FirstStep
from lorapar_cli.training.inputs import TrainingInputs
from lorapar_cli.training.masking.engines import Engine, requested_engine, require_same_engine
from lorapar_cli.training.masking.masked_adapter import (
    MaskedAdapter,
    MaskedModel,
    load_masked_model,
    read_masked_adapter,
    save_masked,
    verify_trained,
    whole_adapter,
)
from lorapar_cli.training.masking.masked_trainer import MaskedTrainer
from lorapar_cli.training.masking.optimizers import optimizer_notes
from lorapar_cli.training.options import TrainingOptions, deciding

Figures = TypeVar("Figures", SftFigures, RlFigures)


@dataclass(frozen=True)
class TrainingJob:
    """What a stage has prepared before a model is loaded.

    Attributes:
        folder: Stage folder that the result is published to.
        manifest: The run's; its notes grow while it trains, the rest is filled in at the end.
        options: The stage's.
        base: Base model.
        start: Adapter that training starts from, with its active elements.
        counts: What is known of the records.
        dropout: Dropout probability before the LoRA matrices.
        shown: Key of the trainer's logs -> short name in the progress display.
    """

    folder: Path
    manifest: Manifest
    options: TrainingOptions
    base: BaseModel
    start: MaskedAdapter
    counts: TrainedRecords
    dropout: float
    shown: Mapping[str, str]

    def is_done(self) -> bool:
        """Returns whether the stage folder has the finished result of this job."""
        settings, inputs = self.manifest.settings, self.manifest.inputs
        return reuse(self.folder, settings, inputs, deciding) is not None


@dataclass(frozen=True)
class TrainingRun:
    """A loaded model that is about to train, as the stage's fitting function gets it.

    Attributes:
        masked: The model and what its adapter started from.
        work: Working folder.
        checkpoint: Checkpoint to resume from, or None.
        device: Device that it trains on.
        main: Whether this process writes files.
        logs: Logs that this process writes, by their names.
        callback: Metrics, checkpoints, progress.
        progress: Where events go; silent in all processes but one.
        notes: Sentences for the manifest, added to while training.
        dry: Ends the run before the first step; None in a real one.
    """

    masked: MaskedModel
    work: Path
    checkpoint: Path | None
    device: torch.device
    main: bool
    logs: dict[str, StepLog]
    callback: StageCallback
    progress: Progress
    notes: list[str]
    dry: DryRun | None

    def open_log(self, name: str) -> StepLog | None:
        """Returns a step log that continues from the checkpoint, None where nothing is written."""
        if not self.main or self.dry is not None:
            return None
        self.logs[name] = _open_log(self.work / name, self.checkpoint)
        return self.logs[name]

    def run_trainer(self, trainer: MaskedTrainer) -> None:
        """Runs a trainer to its end, or to its first step, without the library's own output.

        Raises:
            LoraparError: No step had a gradient.
        """
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(self.callback)
        if self.dry is not None:
            trainer.add_callback(self.dry)
        gradients = GradientMonitor()
        trainer.add_callback(gradients)
        trainer.train(resume_from_checkpoint=str(self.checkpoint) if self.checkpoint else None)
        gradients.conclude(self.notes)
        trainer.take_evaluation_point()


@dataclass(frozen=True)
class Trained(Generic[Figures]):
    """What a finished run says of itself, for the stage's record.

    Attributes:
        elements: How many elements are active, and how many moved.
        launch: How the run was launched.
        figures: What the stage's fitting function returned.
    """

    elements: MovedElements
    launch: LaunchMetrics
    figures: Figures


def read_starting_adapter(
    source: TrainingInputs, flag: Flag, trust: bool
) -> tuple[BaseModel, MaskedAdapter]:
    """Returns base model and adapter, checked to belong together; loads no model.

    Raises:
        LoraparError: Mask and adapter differ in layout, nothing is active, the base model changed
            or is of a family that TRL's trainers do not train, or the launcher requested an engine
            that cannot keep elements frozen.
    """
    requested_engine()
    start = read_masked_adapter(source.adapter, source.mask, flag)
    base = find_base_model(source.base_id, trust)
    if base.encoder_decoder:
        raise LoraparError(
            f"`{source.base_id}` is an encoder-decoder model, which TRL's trainers cannot train",
            hint="such models can be scored and partitioned; train a decoder-only one",
        )
    if source.revision is not None and base.revision != source.revision:
        raise LoraparError(
            f"base model `{source.base_id}` is not the one that the adapter was made for",
            f"revision was {source.revision}, is {base.revision}",
            "run `lorapar score` again with this base model",
        )
    return base, start


def run_training(
    job: TrainingJob,
    fit: Callable[[TrainingRun], Figures],
    to_record: Callable[[Trained[Figures]], TrainingRecord],
    progress: Progress,
) -> Outcome:
    """Fits the job's adapter, resuming an unfinished run, verifies the result and publishes it.

    A dry run ends before the first step: nothing is written, and the manifest is not finished.

    Args:
        fit: Builds the trainer, runs it by `TrainingRun.run_trainer`, returns its figures.
        to_record: Returns the stage's record of a finished run.

    Raises:
        LoraparError: The launch cannot train this job, the folder holds another result, or
            training went wrong.
    """
    manifest, options = job.manifest, job.options
    engine = _find_engine(options)
    processes = join_processes()
    launch: LaunchMetrics = {"processes": processes.count, "engine": engine.value}
    elements: MaskedElements = {
        "elements": job.start.element_count,
        "active": job.start.active_count,
    }
    manifest.base_model = job.base.to_manifest()
    manifest.layout_fingerprint = layout_fingerprint(job.start.shapes)
    manifest.notes += optimizer_notes(options, engine)
    if options.dry_run:
        figures = _run_dry(job, engine, processes, fit, progress)
        manifest.keep(DryRunRecord({**job.counts, **elements}, {**launch, **figures}))
        return Outcome(job.folder, manifest)
    with working_in(job.folder):
        # Another command may have finished the same run while this one loaded its records.
        if processes.on_main(job.is_done):
            return _read_outcome(job.folder, fresh=False)
        work, checkpoint, damaged = processes.on_main(lambda: _open_work(job))
        manifest.notes += damaged
        if damaged and checkpoint is None:
            manifest.notes.append("no other checkpoint is left: training started over")
        if checkpoint is not None:
            require_same_engine(checkpoint, engine, processes.count)
            manifest.notes.append(f"resumed an unfinished run from {checkpoint.name}")
        run = _load(job, engine, processes, work, checkpoint, None, progress)
        fitted = fit(run)
        values = whole_adapter(run.masked)
        active_moved, frozen_moved = verify_trained(job.start, values)
        moved: MovedElements = {
            **elements,
            "active_moved": active_moved,
            "frozen_moved": frozen_moved,
        }
        manifest.keep(to_record(Trained(moved, launch, fitted)))
        if run.main:
            save_masked(run.masked, values, work)
            finish_working_folder(work, job.folder, manifest)
        processes.wait()
        return _read_outcome(job.folder, fresh=True)


def _find_engine(options: TrainingOptions) -> Engine:
    """Returns the engine that the launcher requested, which must be able to train the base model."""
    engine = requested_engine()
    if engine.sharded and options.quantize is not None:
        raise LoraparError(
            f"a quantized base model cannot be trained under {engine}",
            f"`--quantize {options.quantize}`",
            "omit `--quantize`, or launch plain data parallel with `torchrun`",
        )
    return engine


def _load(
    job: TrainingJob,
    engine: Engine,
    processes: Processes,
    work: Path,
    checkpoint: Path | None,
    dry: DryRun | None,
    progress: Progress,
) -> TrainingRun:
    """Returns the job with its model loaded, ready for the stage's fitting function."""
    options, main = job.options, processes.rank == 0
    masked = load_masked_model(
        job.base,
        job.start,
        dtype=options.dtype,
        quantize=options.quantize,
        dropout=job.dropout,
        trust=options.trust_remote_code,
        engine=engine,
    )
    logs: dict[str, StepLog] = {}
    if main and dry is None:
        logs[Artifact.METRICS] = _open_log(work / Artifact.METRICS, checkpoint)
    heard = progress if main else silent
    callback = StageCallback(
        logs,
        identity_digest(job.manifest, deciding),
        job.manifest.stage,
        job.shown,
        heard,
        processes.wait,
    )
    return TrainingRun(
        masked=masked,
        work=work,
        checkpoint=checkpoint,
        device=pick_device(),
        main=main,
        logs=logs,
        callback=callback,
        progress=heard,
        notes=job.manifest.notes,
        dry=dry,
    )


def _run_dry(
    job: TrainingJob,
    engine: Engine,
    processes: Processes,
    fit: Callable[[TrainingRun], Figures],
    progress: Progress,
) -> DryRunFigures:
    """Returns the figures of a run that ends before its first step and leaves nothing behind."""
    dry = DryRun()
    # Trainers create their output folder even then.
    with TemporaryDirectory() as work:
        try:
            fit(_load(job, engine, processes, Path(work), None, dry, progress))
        except FirstStep as reached:
            return reached.figures
    raise AssertionError("a dry run went on to train")


def _open_work(job: TrainingJob) -> tuple[Path, Path | None, list[str]]:
    """Returns the working folder, its last intact checkpoint, and what was wrong with later ones."""
    work = open_working_folder(job.folder, job.manifest, job.options.overwrite, deciding)
    checkpoint, damaged = last_checkpoint(work, identity_digest(job.manifest, deciding))
    return work, checkpoint, damaged


def _open_log(path: Path, checkpoint: Path | None) -> StepLog:
    """Returns a step log that continues from what it held at the checkpoint, or starts empty."""
    return StepLog(path, read_mark(checkpoint).logs.get(path.name) if checkpoint else None)


def _read_outcome(folder: Path, fresh: bool) -> Outcome:
    finished = read_manifest(folder)
    if finished is None:
        raise AssertionError(f"`{folder}` has no manifest after training")
    return Outcome(folder, finished, fresh)
