"""What both training stages share: arguments, metrics, resuming, publishing."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_callback import ProgressCallback

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.hub.masked_trainer import (
    MaskedAdapter,
    MaskedModel,
    load_masked_model,
    read_masked_adapter,
    save_masked,
    verify_trained,
)
from lorapar_cli.hub.models import BaseModel, find_base_model
from lorapar_cli.hub.processes import join_processes
from lorapar_cli.names import Flag, Progress, silent
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.store.tensors import layout_fingerprint
from lorapar_cli.store.working import (
    CHECKPOINTS,
    StepLog,
    finish_working_folder,
    last_checkpoint,
    mark_complete,
    open_working_folder,
)

# Arguments that the stage decides, with the option that decides them.
_OWNED = {
    "output_dir": "--out",
    "resume_from_checkpoint": "(resuming is automatic)",
    "bf16": "--dtype",
    "fp16": "--dtype",
    "use_cpu": "(follows the machine)",
    "max_length": "--max-length",
    "dataset_kwargs": "(records are tokenized by lorapar)",
    "remove_unused_columns": "(records are tokenized by lorapar)",
    "reward_weights": "--rewards",
}


def parse_training_arguments(pairs: list[str], config_class: type) -> dict[str, Any]:
    """Returns `KEY=VALUE` pairs as arguments of a trainer's config class, values read as YAML.

    Raises:
        UsageError: Unknown keys, all of them with the nearest valid name, or owned ones.
    """
    known = {field.name for field in dataclasses.fields(config_class)}
    arguments, problems = {}, []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            problems.append(f"`{pair}` is not KEY=VALUE")
        elif key in _OWNED:
            problems.append(f"`{key}` is set by {_OWNED[key]}")
        elif key not in known:
            problems.append(f"`{key}` is unknown{nearest(key, sorted(known))}")
        else:
            arguments[key] = yaml.safe_load(value)
    if problems:
        raise UsageError(
            f"training arguments that `{config_class.__name__}` does not take", "\n".join(problems)
        )
    return arguments


def build_config(config_class: type, own: dict[str, Any], extra: dict[str, Any]):
    """Returns the trainer's config, or the error that its own checks raise."""
    try:
        return config_class(**(own | extra))
    except (ValueError, TypeError) as cause:
        raise UsageError("training arguments do not fit together", str(cause)) from cause


def common_arguments(options, work: Path, device: torch.device) -> dict[str, Any]:
    """Returns the trainer arguments of the options that both stages have.

    Args:
        options: `SftOptions` or `RlOptions`.
        work: Working folder; checkpoints go below it.
    """
    on_gpu = device.type == "cuda"
    return {
        "output_dir": str(work / CHECKPOINTS),
        "learning_rate": options.learning_rate,
        "num_train_epochs": options.epochs,
        "max_steps": options.max_steps,
        "per_device_train_batch_size": options.per_device_batch_size,
        "gradient_accumulation_steps": options.gradient_accumulation,
        "lr_scheduler_type": options.scheduler,
        "warmup_steps": options.warmup,
        "weight_decay": options.weight_decay,
        "max_grad_norm": options.max_grad_norm,
        "optim": options.optimizer,
        "gradient_checkpointing": options.gradient_checkpointing,
        "save_steps": options.save_steps,
        "seed": options.seed,
        "use_cpu": not on_gpu,
        "bf16": on_gpu and options.dtype in ("auto", "bfloat16"),
        "fp16": on_gpu and options.dtype == "float16",
        "disable_tqdm": True,
        "report_to": "none",
        "logging_steps": 1,
        # A loss that is not a number must be seen, not averaged away.
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        # The older checkpoint must outlive the writing of the newer one.
        "save_total_limit": 2,
        "dataloader_pin_memory": on_gpu,
    }


class StageCallback(TrainerCallback):
    """Writes metrics.jsonl, marks complete checkpoints, drives the progress display.

    Args:
        log: metrics.jsonl; None in processes that write nothing.
        label: What the progress display calls this training.
        shown: Key of the trainer's logs -> short name in the progress display.
    """

    def __init__(self, log: StepLog, label: str, shown: dict[str, str], progress: Progress) -> None:
        self._log, self._label, self._shown, self._progress = log, label, shown, progress
        self.last: dict[str, float] = {}

    def on_log(self, args, state, control, logs=None, **_):
        """Appends one line a step; the closing summary of a run is no step."""
        if "train_runtime" in logs:
            return
        loss = logs.get("loss")
        if loss is not None and not math.isfinite(loss):
            raise LoraparError(
                f"loss is {loss} in step {state.global_step}",
                hint="lower `--learning-rate`; the last checkpoint is kept, "
                "the same command goes on from it",
            )
        self.last = logs
        if self._log is None:
            return
        self._log.append([{"step": state.global_step} | logs])
        figures = [f"{name} {logs[key]:.3g}" for key, name in self._shown.items() if key in logs]
        label = " | ".join([self._label, *figures])
        self._progress(label, state.global_step, state.max_steps)

    def on_save(self, args, state, control, **_):
        """Marks the checkpoint that has just been written."""
        if state.is_world_process_zero:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def run_training(trainer, checkpoint: Path | None) -> None:
    """Trains to the end, from a checkpoint if there is one, without the library's own output."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def find_start(
    base_id: str, revision: str | None, adapter: Path, mask: Path | None, flag: Flag, trust: bool
) -> tuple[BaseModel, MaskedAdapter]:
    """Returns base and adapter, checked to belong together; loads no model.

    Args:
        revision: The base model's revision when the adapter was made; None where unknown.
        mask: Mask file, or None for all elements.

    Raises:
        LoraparError: Mask and adapter differ in layout, nothing is active, the base changed, or it
            is of a family that TRL's trainers do not train.
    """
    start = read_masked_adapter(adapter, mask, flag)
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


def train_and_publish(
    folder: Path,
    manifest: Manifest,
    base: BaseModel,
    start: MaskedAdapter,
    fit: Callable[[MaskedModel, Path, Path | None, "StageCallback"], dict[str, float]],
    *,
    dtype: str,
    quantize: str | None,
    dropout: float,
    shown: dict[str, str],
    trust: bool,
    overwrite: bool,
    progress: Progress,
) -> None:
    """Trains by `fit`, going on from an unfinished run, checks the result and publishes it.

    Fills in the manifest's base model, fingerprint, counts and metrics.

    Args:
        fit: Trains in place, given model, working folder, checkpoint or None, and callback.
        shown: Key of the trainer's logs -> short name in the progress display.
    """
    processes = join_processes()
    work, checkpoint = processes.on_main(lambda: _open(folder, manifest, overwrite))
    if checkpoint:
        manifest.notes.append(f"resumed an unfinished run from {checkpoint.name}")
    masked = load_masked_model(
        base, start, dtype=dtype, quantize=quantize, dropout=dropout, trust=trust
    )
    main = processes.rank == 0
    log = open_step_log(work / "metrics.jsonl", checkpoint) if main else None
    callback = StageCallback(log, manifest.stage, shown, progress if main else silent)
    manifest.metrics |= fit(masked, work, checkpoint, callback) | {"processes": processes.count}
    moved, frozen_moved = verify_trained(masked)
    manifest.base_model = base.to_manifest()
    manifest.layout_fingerprint = layout_fingerprint(start.shapes)
    manifest.counts |= {
        "elements": start.element_count,
        "active": start.active_count,
        "active_moved": moved,
        "frozen_moved": frozen_moved,
    }
    if main:
        save_masked(masked, work)
        finish_working_folder(work, folder, manifest)
    processes.wait()


def _open(folder: Path, manifest: Manifest, overwrite: bool) -> tuple[Path, Path | None]:
    """Returns the working folder and its last complete checkpoint."""
    work = open_working_folder(folder, manifest, overwrite)
    return work, last_checkpoint(work)


def open_step_log(path: Path, checkpoint: Path | None) -> StepLog:
    """Returns a step log that goes on from the checkpoint's step, or starts empty."""
    return StepLog(path, int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0)


def drop_long(encoded: list, length: Callable[[Any], int], limit: int, what: str):
    """Returns the items within `limit` tokens and a sentence on the others, or None.

    Raises:
        LoraparError: Nothing is left.
    """
    kept = [item for item in encoded if length(item) <= limit]
    dropped = len(encoded) - len(kept)
    if not kept:
        raise LoraparError(
            f"every record is longer than {limit} tokens ({what})",
            f"the shortest has {min(map(length, encoded))}" if encoded else "no records",
            "raise the limit",
        )
    note = f"{dropped} of {len(encoded)} records left out: {what} over {limit} tokens"
    return kept, (note if dropped else None)
