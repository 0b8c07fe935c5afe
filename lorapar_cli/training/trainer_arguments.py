"""Arguments of TRL's trainers: those that options decide, and those that a user adds."""

import dataclasses
import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import Trainer

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.names import Artifact

TRACKERS = ("wandb", "tensorboard", "trackio", "mlflow", "swanlab")

# Arguments that the stage decides, with the option that decides them or the reason.
_OWNED = {
    "output_dir": "set by --out",
    "save_strategy": "set by --save-steps",
    "bf16": "set by --dtype",
    "fp16": "set by --dtype",
    "reward_weights": "set by --rewards",
    "trust_remote_code": "set by --trust-remote-code",
    "use_vllm": "set by --vllm",
    "vllm_mode": "set by --vllm",
    "use_cpu": "not needed: training follows the machine",
    "save_total_limit": "fixed: two checkpoints are kept, so that one is always whole",
    "resume_from_checkpoint": "not needed: resuming is automatic",
    "fsdp": "asked for by accelerate launch (sample_configs/accelerate-fsdp2.yaml)",
    "fsdp_config": "asked for by accelerate launch (sample_configs/accelerate-fsdp2.yaml)",
    "deepspeed": "asked for by accelerate launch (sample_configs/accelerate-zero3.yaml)",
    "parallelism_config": "asked for by accelerate launch",
}
_REASONS = {
    "refused: records are rendered and tokenized by lorapar (`--template`)": (
        *("dataset_kwargs", "dataset_text_field", "dataset_num_proc", "remove_unused_columns"),
        *("completion_only_loss", "assistant_only_loss", "chat_template_path", "eos_token"),
        *("pad_token", "truncation_mode", "packing", "packing_strategy", "padding_free"),
    ),
    "refused: the base model is loaded by lorapar": ("model_init_kwargs",),
    "refused: an interrupted run could not go on to the same numbers": (
        *("save_only_model", "ignore_data_skip", "auto_find_batch_size"),
    ),
    "refused: there are no records to evaluate on while training (`lorapar eval`)": (
        *("eval_strategy", "eval_on_start", "do_eval", "load_best_model_at_end", "eval_packing"),
    ),
    "refused: nothing is published by a training stage (`lorapar export`)": (
        *("push_to_hub", "hub_model_id", "hub_token", "hub_strategy", "hub_private_repo"),
        *("hub_always_push", "hub_revision", "log_completions_hub_repo"),
    ),
}
_OWNED |= {key: reason for reason, keys in _REASONS.items() for key in keys}


def parse_training_arguments(pairs: list[str], config_class: type) -> dict[str, Any]:
    """Returns `KEY=VALUE` pairs as arguments of a trainer's config class, values read as YAML.

    Raises:
        UsageError: Unknown keys, all of them with the nearest valid name, or owned ones.
    """
    known = {field.name: field for field in dataclasses.fields(config_class)}
    arguments, problems = {}, []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            problems.append(f"`{pair}` is not KEY=VALUE")
        elif key in _OWNED:
            problems.append(f"`{key}` is {_OWNED[key]}")
        elif key not in known:
            problems.append(f"`{key}` is unknown{nearest(key, sorted(known))}")
        else:
            try:
                arguments[key] = _read_value(value, str(known[key].type))
            except yaml.YAMLError:
                problems.append(f"`{pair}` is no YAML value")
    if arguments.get("use_liger_kernel") and not importlib.util.find_spec("liger_kernel"):
        problems.append("`use_liger_kernel` needs a package: `pip install liger-kernel`")
    if problems:
        raise UsageError(
            f"training arguments that `{config_class.__name__}` does not take", "\n".join(problems)
        )
    return arguments


def _read_value(text: str, kind: str) -> Any:
    """Returns a value read as YAML; where a number is wanted also 1e-4, a word to YAML."""
    value = yaml.safe_load(text)
    if isinstance(value, str) and "float" in kind:
        try:
            return float(value)
        except ValueError:
            return value
    return value


def require_tracker(name: str) -> None:
    """Checks that the tracker of `--report-to` is known and installed, before anything is loaded.

    Raises:
        UsageError: Unknown.
        LoraparError: Not installed, or without what it needs.
    """
    if name == "none":
        return
    if name not in TRACKERS:
        raise UsageError(
            f"unknown tracker `{name}`{nearest(name, [*TRACKERS])}",
            hint=f"trackers: none, {', '.join(TRACKERS)}",
        )
    # A folder of that name, such as wandb makes where it writes, looks like a package without a file.
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise LoraparError(f"tracker `{name}` is not installed", hint=f"`pip install {name}`")
    try:
        importlib.import_module(name)
    except ImportError as cause:
        raise LoraparError(
            f"tracker `{name}` cannot be imported", str(cause), f"`pip install -U {name}`"
        ) from cause


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
        "output_dir": str(work / Artifact.CHECKPOINTS),
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


@contextmanager
def checked_arguments(extra: dict[str, Any]) -> Iterator[None]:
    """Turns what a trainer's constructor refuses into a usage error, where the user added to it.

    Args:
        extra: Trainer arguments that the user gave; without any a refusal is a defect of ours.
    """
    try:
        yield
    except (ValueError, TypeError, ImportError) as cause:
        if not extra:
            raise
        raise UsageError(
            "the trainer does not take these training arguments",
            str(cause).strip(),
            f"given with `--training`: {', '.join(sorted(extra))}",
        ) from cause


def logged(trainer: Trainer, key: str) -> list[float]:
    """Returns a figure of every step that logged it, those before a resume included."""
    return [entry[key] for entry in trainer.state.log_history if key in entry]
