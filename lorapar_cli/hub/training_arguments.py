"""Arguments of TRL's trainers: those that options decide, and those that a user adds."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import torch
import yaml

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.store.working import CHECKPOINTS

TRACKERS = ("wandb", "tensorboard", "trackio", "mlflow", "swanlab")

# Arguments that the stage decides, with the option that decides them.
_OWNED = {
    "output_dir": "--out",
    "optim": "--optimizer",
    "gradient_accumulation_steps": "--gradient-accumulation",
    "report_to": "--report-to",
    "save_steps": "--save-steps",
    "save_strategy": "--save-steps",
    "save_total_limit": "(two checkpoints are kept, so that one is always whole)",
    "resume_from_checkpoint": "(resuming is automatic)",
    "bf16": "--dtype",
    "fp16": "--dtype",
    "use_cpu": "(follows the machine)",
    "max_length": "--max-length",
    "dataset_kwargs": "(records are tokenized by lorapar)",
    "remove_unused_columns": "(records are tokenized by lorapar)",
    "reward_weights": "--rewards",
    "fsdp": "accelerate launch (sample_configs/accelerate-fsdp2.yaml)",
    "fsdp_config": "accelerate launch (sample_configs/accelerate-fsdp2.yaml)",
    "deepspeed": "accelerate launch (sample_configs/accelerate-zero3.yaml)",
    "parallelism_config": "accelerate launch",
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


def require_tracker(name: str) -> None:
    """Checks that the tracker of `--report-to` is known and installed, before anything is loaded.

    Raises:
        UsageError: Unknown.
        LoraparError: Not installed.
    """
    if name == "none":
        return
    if name not in TRACKERS:
        raise UsageError(
            f"unknown tracker `{name}`{nearest(name, [*TRACKERS])}",
            hint=f"trackers: none, {', '.join(TRACKERS)}",
        )
    if importlib.util.find_spec(name) is None:
        raise LoraparError(f"tracker `{name}` is not installed", hint=f"`pip install {name}`")


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
        "report_to": options.report_to,
        "logging_steps": 1,
        # A loss that is not a number must be seen, not averaged away.
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        # The older checkpoint must outlive the writing of the newer one.
        "save_total_limit": 2,
        "dataloader_pin_memory": on_gpu,
    }
