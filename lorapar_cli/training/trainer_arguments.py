"""Arguments of TRL's trainers: those that options decide, and those that a user adds."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import Trainer, TrainingArguments

from lorapar_cli.errors import UsageError, nearest
from lorapar_cli.names import Artifact
from lorapar_cli.options import options_of
from lorapar_cli.store.yaml_file import parse_yaml
from lorapar_cli.training.option_aliases import to_float
from lorapar_cli.training.options import TrainingOptions, argument_name

Config = TypeVar("Config", bound=TrainingArguments)

# Arguments that a user cannot set -> the option that decides them, or the reason.
_OWNED = {
    "output_dir": "set by --out",
    "save_strategy": "set by --save-steps",
    "bf16": "set by --dtype",
    "fp16": "set by --dtype",
    "reward_weights": "set by --rewards",
    "trust_remote_code": "set by --trust-remote-code",
    "use_vllm": "set by --vllm",
    "vllm_mode": "set by --vllm",
    "use_cpu": "not needed: training uses the GPU where there is one",
    "save_total_limit": "fixed: two checkpoints are kept, so that one is always complete",
    "resume_from_checkpoint": "not needed: resuming is automatic",
    "fsdp": "set by accelerate launch (sample_configs/accelerate-fsdp2.yaml)",
    "fsdp_config": "set by accelerate launch (sample_configs/accelerate-fsdp2.yaml)",
    "deepspeed": "set by accelerate launch (sample_configs/accelerate-zero3.yaml)",
    "parallelism_config": "set by accelerate launch",
}
_REASONS = {
    "refused: records are rendered and tokenized by lorapar (`--template`)": (
        *("dataset_kwargs", "dataset_text_field", "dataset_num_proc", "remove_unused_columns"),
        *("completion_only_loss", "assistant_only_loss", "chat_template_path", "eos_token"),
        *("pad_token", "truncation_mode"),
    ),
    "set by `--packing`": ("packing", "packing_strategy", "padding_free"),
    "refused: the base model is loaded by lorapar": ("model_init_kwargs",),
    "refused: an interrupted run could not resume to the same numbers": (
        *("save_only_model", "ignore_data_skip", "auto_find_batch_size"),
    ),
    "refused: every step is logged, since what is wrong with a run is found in its log": (
        *("logging_steps", "logging_strategy", "logging_nan_inf_filter"),
    ),
    "refused: a validation part is measured by lorapar (`--eval-steps`, `--keep`)": (
        *("eval_steps", "eval_delay", "metric_for_best_model", "greater_is_better"),
        *("eval_strategy", "eval_on_start", "do_eval", "load_best_model_at_end", "eval_packing"),
    ),
    "refused: training stages do not publish models (`lorapar export`)": (
        *("push_to_hub", "hub_model_id", "hub_token", "hub_strategy", "hub_private_repo"),
        *("hub_always_push", "hub_revision", "log_completions_hub_repo"),
    ),
}
_OWNED |= {key: reason for reason, keys in _REASONS.items() for key in keys}


def parse_training_arguments(
    pairs: Sequence[str], config_class: type[TrainingArguments]
) -> dict[str, Any]:
    """Returns `KEY=VALUE` pairs as arguments of a trainer's config class, values read as YAML.

    Raises:
        UsageError: Unknown keys, each with the nearest valid name, owned keys, and values that are
            not YAML; all of them in one message.
    """
    known = {field.name: field for field in dataclasses.fields(config_class)}
    arguments: dict[str, Any] = {}
    problems = []
    for pair in pairs:
        key = argument_name(pair)
        _, equals, value = pair.partition("=")
        if not equals:
            problems.append(f"`{pair}` is not KEY=VALUE")
        elif key in _OWNED:
            problems.append(f"`{key}` is {_OWNED[key]}")
        elif key not in known:
            problems.append(f"`{key}` is unknown{nearest(key, sorted(known))}")
        else:
            try:
                arguments[key] = _read_value(value, str(known[key].type))
            except ValueError:
                problems.append(f"`{pair}` is not valid YAML")
    if problems:
        raise UsageError(
            f"training arguments that `{config_class.__name__}` does not take", "\n".join(problems)
        )
    return arguments


def _read_value(text: str, kind: str) -> Any:
    """Returns a value read as YAML; text that stands for a number where one is wanted becomes it."""
    value = parse_yaml(text)
    return to_float(value) if isinstance(value, str) and "float" in kind else value


def build_config(config_class: type[Config], own: dict[str, Any], extra: dict[str, Any]) -> Config:
    """Returns the trainer's config.

    Args:
        own: Arguments that the stage decides.
        extra: Arguments that the user added with `--training`.

    Raises:
        UsageError: The config's own checks refuse them.
    """
    try:
        config = config_class(**(own | extra))
    except (ValueError, TypeError) as cause:
        raise UsageError("training arguments do not fit together", str(cause)) from cause
    # One process trains on one GPU, or on all by a device map. The library would run a thread for
    # each GPU that it sees, which TRL refuses.
    config._n_gpu = min(config.n_gpu, 1)
    return config


def common_arguments(options: TrainingOptions, work: Path, device: torch.device) -> dict[str, Any]:
    """Returns the trainer arguments that options set, and those that hold for both stages.

    Args:
        work: Working folder; checkpoints are written below it.
    """
    on_gpu = device.type == "cuda"
    set_by_options = {
        each.stated.trainer: getattr(options, each.name)
        for each in options_of(type(options))
        if each.stated.trainer is not None
    }
    return set_by_options | {
        "output_dir": str(work / Artifact.CHECKPOINTS),
        "use_cpu": not on_gpu,
        "bf16": on_gpu and options.dtype in ("auto", "bfloat16"),
        "fp16": on_gpu and options.dtype == "float16",
        "disable_tqdm": True,
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
    """Turns an error of a trainer's constructor into a usage error if the user added arguments.

    Args:
        extra: Arguments that the user added with `--training`; without any, an error is a defect of
            lorapar and is raised as it is.
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
    """Returns a figure of every step that logged it, including those before a resume."""
    return [entry[key] for entry in trainer.state.log_history if key in entry]
