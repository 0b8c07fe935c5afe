"""What both training stages share: from files that belong together to a published adapter."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from transformers import PrinterCallback
from transformers.trainer_callback import ProgressCallback

from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Progress, silent
from lorapar_cli.models.base_model import BaseModel, find_base_model, pick_device
from lorapar_cli.models.distributed import join_processes
from lorapar_cli.names import Flag
from lorapar_cli.store.checkpoints import last_checkpoint
from lorapar_cli.store.manifest import Manifest, Outcome, read_manifest
from lorapar_cli.store.resumable_folder import finish_working_folder, open_working_folder
from lorapar_cli.store.step_log import StepLog
from lorapar_cli.store.tensor_files import layout_fingerprint
from lorapar_cli.training.callbacks import StageCallback
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
from lorapar_cli.training.options import deciding

METRICS = "metrics.jsonl"
_NAMED = 5

Item = TypeVar("Item")


@dataclasses.dataclass
class TrainingRun:
    """One run of a trainer, as the stage's fitting function gets it.

    Attributes:
        masked: The model and what its adapter started from.
        work: Working folder.
        checkpoint: Where it goes on from, or None.
        device: What it trains on.
        main: Whether this process writes files.
        callback: Metrics, checkpoints, progress.
        notes: Sentences for a person, added to while training.
        dry: Ends the run before the first step; None in a real one.
    """

    masked: MaskedModel
    work: Path
    checkpoint: Path | None
    device: torch.device
    main: bool
    callback: StageCallback
    notes: list[str]
    dry: DryRun | None

    def open_log(self, name: str) -> StepLog | None:
        """Returns a step log that goes on from the checkpoint; None in processes that only work."""
        return _open_log(self.work / name, self.checkpoint) if self.main and not self.dry else None

    def fit(self, trainer: MaskedTrainer) -> None:
        """Trains to the end, or to the first step, without the library's own output."""
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(self.callback)
        if self.dry is not None:
            trainer.add_callback(self.dry)
        resumed = str(self.checkpoint) if self.checkpoint else None
        trainer.train(resume_from_checkpoint=resumed)
        trainer.take_evaluation_point()


def read_starting_adapter(
    source: TrainingInputs, flag: Flag, trust: bool
) -> tuple[BaseModel, MaskedAdapter]:
    """Returns base and adapter, checked to belong together; loads no model.

    Raises:
        LoraparError: Mask and adapter differ in layout, nothing is active, the base changed, it
            is of a family that TRL's trainers do not train, or the launcher asked for an engine
            that cannot keep frozen elements.
    """
    requested_engine()
    start = read_masked_adapter(source.adapter, source.mask, flag)
    base_id, revision = source.base_id, source.revision
    base = find_base_model(base_id, trust)
    if base.encoder_decoder:
        raise LoraparError(
            f"`{base_id}` is an encoder-decoder model, which TRL's trainers cannot train",
            hint="such models can be scored and partitioned; train a decoder-only one",
        )
    if revision is not None and base.revision != revision:
        raise LoraparError(
            f"base model `{base_id}` is not the one that the adapter was made for",
            f"revision was {revision}, is {base.revision}",
            "run `lorapar score` again with this base model",
        )
    return base, start


def train(
    folder: Path,
    manifest: Manifest,
    base: BaseModel,
    start: MaskedAdapter,
    fit: Callable[[TrainingRun], dict[str, Any]],
    *,
    options,
    dropout: float,
    shown: dict[str, str],
    trust: bool,
    overwrite: bool,
    dry_run: bool,
    progress: Progress,
) -> Outcome:
    """Trains by `fit`, going on from an unfinished run, checks the result and publishes it.

    Args:
        fit: Makes the trainer, runs it by `TrainingRun.fit`, returns figures for the manifest.
        options: `SftOptions` or `RlOptions`.
        shown: Key of the trainer's logs -> short name in the progress display.
        dry_run: Stop before the first step; nothing is written, the manifest is not finished.
    """
    engine = requested_engine()
    if engine.sharded and options.quantize is not None:
        raise LoraparError(
            f"a quantised base model cannot be trained under {engine}",
            f"`--quantize {options.quantize}`",
            "leave out `--quantize`, or launch plain data parallel with `torchrun`",
        )
    processes = join_processes()

    def load(work: Path, checkpoint: Path | None, dry: DryRun | None) -> TrainingRun:
        masked = load_masked_model(
            base,
            start,
            dtype=options.dtype,
            quantize=options.quantize,
            dropout=dropout,
            trust=trust,
            engine=engine,
        )
        main = processes.rank == 0
        log = None if dry or not main else _open_log(work / METRICS, checkpoint)
        callback = StageCallback(
            log, manifest.stage, shown, progress if main else silent, processes.wait
        )
        return TrainingRun(
            masked, work, checkpoint, pick_device(), main, callback, manifest.notes, dry
        )

    _describe(manifest, base, start, processes.count, engine)
    manifest.notes += optimizer_notes(options, engine)
    if dry_run:
        manifest.metrics |= _run_dry(load, fit)
        return Outcome(folder, manifest)
    work, checkpoint = processes.on_main(lambda: _open(folder, manifest, overwrite))
    if checkpoint:
        require_same_engine(checkpoint, engine, processes.count)
        manifest.notes.append(f"resumed an unfinished run from {checkpoint.name}")
    run = load(work, checkpoint, None)
    manifest.metrics |= fit(run)
    values = whole_adapter(run.masked)
    moved, frozen_moved = verify_trained(start, values)
    manifest.counts |= {"active_moved": moved, "frozen_moved": frozen_moved}
    if run.main:
        save_masked(run.masked, values, work)
        finish_working_folder(work, folder, manifest)
    processes.wait()
    return Outcome(folder, read_manifest(folder))


def _run_dry(load, fit: Callable[[TrainingRun], dict[str, Any]]) -> dict[str, Any]:
    """Returns the figures of a run that ends before its first step and leaves nothing behind."""
    dry = DryRun()
    # Trainers create their output folder even then.
    with TemporaryDirectory() as work:
        try:
            fit(load(Path(work), None, dry))
        except FirstStep:
            return dry.figures
    raise AssertionError("a dry run went on to train")


def _describe(
    manifest: Manifest, base: BaseModel, start: MaskedAdapter, processes: int, engine: Engine
) -> None:
    manifest.base_model = base.to_manifest()
    manifest.layout_fingerprint = layout_fingerprint(start.shapes)
    manifest.counts |= {"elements": start.element_count, "active": start.active_count}
    manifest.metrics |= {"processes": processes, "engine": engine.value}


def _open(folder: Path, manifest: Manifest, overwrite: bool) -> tuple[Path, Path | None]:
    """Returns the working folder and its last complete checkpoint."""
    work = open_working_folder(folder, manifest, overwrite, deciding)
    return work, last_checkpoint(work)


def _open_log(path: Path, checkpoint: Path | None) -> StepLog:
    """Returns a step log that goes on from the checkpoint's step, or starts empty."""
    return StepLog(path, int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0)


def drop_too_long(
    items: list[Item], lengths: list[int], names: list[str], limit: int, what: str
) -> tuple[list[Item], str | None]:
    """Returns the items within `limit` tokens, and a sentence that names the others or None.

    Args:
        lengths: Tokens of each item.
        names: Id of each item's record.

    Raises:
        LoraparError: Nothing is left.
    """
    kept = [item for item, length in zip(items, lengths, strict=True) if length <= limit]
    dropped = [name for name, length in zip(names, lengths, strict=True) if length > limit]
    if not kept:
        raise LoraparError(
            f"every record is longer than {limit} tokens ({what})",
            f"the shortest has {min(lengths)}",
            "raise the limit",
        )
    if not dropped:
        return kept, None
    first = ", ".join(f"`{name}`" for name in dropped[:_NAMED])
    more = ", ..." if len(dropped) > _NAMED else ""
    return kept, (
        f"{len(dropped)} of {len(items)} records left out, {what} over {limit} tokens: {first}{more}"
    )
