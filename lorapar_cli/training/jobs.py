"""A training stage's job: what it has prepared, what it may find out beforehand, its loaded model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from transformers import PrinterCallback
from transformers.trainer_callback import ProgressCallback

from lorapar_cli.events import Progress, silent
from lorapar_cli.models.base_model import BaseModel, pick_device
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.names import Artifact
from lorapar_cli.stage_records.training import (
    LaunchMetrics,
    MovedElements,
    RlFigures,
    SftFigures,
    TrainedRecords,
    Watched,
)
from lorapar_cli.store.checkpoints import read_mark
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.store.resumable_folder import run_digest
from lorapar_cli.store.reuse import reuse
from lorapar_cli.store.step_log import StepLog
from lorapar_cli.training.callbacks import GradientMonitor, StageCallback, StepEnd
from lorapar_cli.training.dry_run import DryRun
from lorapar_cli.training.masking.masked_adapter import (
    MaskedAdapter,
    MaskedModel,
    load_masked_model,
)
from lorapar_cli.training.masking.masked_trainer import MaskedTrainer
from lorapar_cli.training.options import TrainingOptions, deciding
from lorapar_cli.training.speed.kernels import require_kernels
from lorapar_cli.training.trackers import adapt_trackers
from lorapar_cli.training.watching.plan import WatchPlan
from lorapar_cli.training.watching.watch import Watch, open_watch

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
        plan: What is measured besides the steps; None for nothing.
    """

    folder: Path
    manifest: Manifest
    options: TrainingOptions
    base: BaseModel
    start: MaskedAdapter
    counts: TrainedRecords
    dropout: float
    shown: Mapping[str, str]
    plan: WatchPlan | None = None

    def is_done(self) -> bool:
        """Returns whether the stage folder has the finished result of this job."""
        settings, inputs = self.manifest.settings, self.manifest.inputs
        return reuse(self.folder, settings, inputs, deciding, type(self.options)) is not None


@dataclass(frozen=True)
class Launch:
    """How a stage was launched.

    Attributes:
        engine: What holds the parameters.
        processes: Those that train together.
    """

    engine: Engine
    processes: Processes

    def metrics(self) -> LaunchMetrics:
        """Returns what the stage records of it."""
        return {"processes": self.processes.count, "engine": self.engine.value}


@dataclass(frozen=True)
class Preparation:
    """A job in its working folder, before its model is loaded to train.

    A stage may find out things here that a resumed run must not find out again: it keeps them in
    journals in the folder, whose names begin with `store.resumable_folder.UNFINISHED_PREFIX`.

    Attributes:
        work: Working folder.
        progress: Where events go; silent in all processes but one.
    """

    job: TrainingJob
    launch: Launch
    work: Path
    progress: Progress


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
        watch: Measures besides the steps; None where nothing does.
        watched: What it has measured, once the run has ended.
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
    watch: Watch | None
    watched: Watched

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
        # What the trainer itself does at the end of a step comes before, and is counted.
        trainer.add_callback(StepEnd(self.callback.clock))
        if self.watch is not None:
            # First: what it adds to a checkpoint is there when that is marked as complete.
            self.watch.begin(trainer, self.checkpoint)
        adapt_trackers(trainer)
        trainer.add_callback(self.callback)
        if self.dry is not None:
            trainer.add_callback(self.dry)
        gradients = GradientMonitor()
        trainer.add_callback(gradients)
        trainer.train(resume_from_checkpoint=str(self.checkpoint) if self.checkpoint else None)
        gradients.conclude(self.notes)
        trainer.take_evaluation_point()
        if self.watch is not None:
            self.watched.update(self.watch.conclude(self.logs.get(Artifact.METRICS)))


@dataclass(frozen=True)
class Trained(Generic[Figures]):
    """What a finished run says of itself, for the stage's record.

    Attributes:
        elements: How many elements are active, and how many moved.
        launch: How the run was launched.
        figures: What the stage's fitting function returned.
        watched: What was measured besides the steps.
    """

    elements: MovedElements
    launch: LaunchMetrics
    figures: Figures
    watched: Watched


def load_run(
    job: TrainingJob,
    launch: Launch,
    work: Path,
    checkpoint: Path | None,
    dry: DryRun | None,
    progress: Progress,
) -> TrainingRun:
    """Returns the job with its model loaded, ready for the stage's fitting function."""
    options, main = job.options, launch.processes.rank == 0
    masked = load_masked_model(
        job.base,
        job.start,
        dtype=options.dtype,
        quantize=options.quantize,
        dropout=job.dropout,
        trust=options.trust_remote_code,
        engine=launch.engine,
        attention=options.attention,
        device_map=options.device_map is not None,
    )
    if options.liger:
        require_kernels(masked.model)
    logs: dict[str, StepLog] = {}
    if main and dry is None:
        logs[Artifact.METRICS] = _open_log(work / Artifact.METRICS, checkpoint)
    heard = progress if main else silent
    watch = None
    if job.plan is not None and dry is None:
        watch = open_watch(job.plan, launch.engine, launch.processes, heard, job.manifest.notes)
    callback = StageCallback(
        logs,
        run_digest(work, job.manifest, deciding, type(options)),
        job.manifest.stage,
        job.shown,
        heard,
        launch.processes.wait,
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
        watch=watch,
        watched={},
    )


def _open_log(path: Path, checkpoint: Path | None) -> StepLog:
    """Returns a step log that continues from what it held at the checkpoint, or starts empty."""
    return StepLog(path, read_mark(checkpoint).logs.get(path.name) if checkpoint else None)
