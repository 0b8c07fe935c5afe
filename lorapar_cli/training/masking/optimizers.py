"""Optimizers by the names of `TrainingArguments`: which train active elements, and what they need.

In one process an optimizer owns one float32 vector per LoRA matrix, the matrix's active elements
(`training.masking.active_elements`). Every optimizer that takes vectors can train these. Refused
are the ones that act on whole matrices, that step inside the backward pass, or whose state cannot
be restored from a checkpoint.
"""

import importlib.util

import torch
from transformers import Trainer, TrainingArguments
from transformers.training_args import OptimizerNames

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.training.options import TrainingOptions

_PYTORCH = ("adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "rmsprop")
_SCHEDULE_FREE = "schedule_free"

# What a name contains -> why it is refused, what to use instead.
_REFUSED = (
    (
        ("galore", "apollo"),
        "it projects the gradients of whole matrices, and active elements do not form a matrix",
        "`adamw_8bit`, whose state is small too",
    ),
    (
        ("lomo",),
        "it steps inside the backward pass, before gradients are accumulated and clipped",
        "`adafactor`, or `sgd`, which keeps no state",
    ),
    (
        ("adamw_torch_4bit", "adamw_torch_8bit"),
        "it compiles its step for each shape, and vectors of active elements differ in length",
        "`adamw_8bit`",
    ),
    (
        ("grokadamw",),
        "it keys its state by parameter object, which a resumed run cannot match",
        "`adamw_torch`",
    ),
)

# What a name contains -> module that must be installed, how to get it.
_PACKAGES = (
    ((_SCHEDULE_FREE,), "schedulefree", "`pip install schedulefree`"),
    (("stable_adamw",), "optimi", "`pip install torch-optimi`"),
    (
        ("bnb", "lion", "paged", "ademamix", "adamw_8bit"),
        "bitsandbytes",
        "`pip install 'lorapar[quantize]'`",
    ),
    (
        ("anyprecision",),
        "torchdistx",
        "it is not published as a package: build github.com/pytorch/torchdistx",
    ),
    (("xla",), "torch_xla", "it runs on TPUs only: choose another optimizer"),
    (("npu",), "torch_npu", "it runs on Ascend NPUs only: choose another optimizer"),
)


def require_optimizer(options: TrainingOptions, engine: Engine) -> None:
    """Checks that the optimizer can run here, before anything is loaded.

    Raises:
        UsageError: The name is unknown, or the optimizer cannot train active elements only.
        LoraparError: A package is missing, or the engine cannot be used with the optimizer.
    """
    name = options.optimizer
    known = [each.value for each in OptimizerNames]
    if name not in known:
        accepted = sorted(each for each in known if _refusal(each) is None)
        raise UsageError(
            f"unknown optimizer `{name}`{nearest(name, accepted)}",
            hint=f"optimizers: {', '.join(accepted)}",
        )
    if refusal := _refusal(name):
        reason, instead = refusal
        raise UsageError(
            f"optimizer `{name}` cannot train active elements only", reason, f"use {instead}"
        )
    for parts, module, hint in _PACKAGES:
        if any(part in name for part in parts) and importlib.util.find_spec(module) is None:
            raise LoraparError(f"optimizer `{name}` needs `{module}`", "it is not installed", hint)
    _require_engine_for(name, engine)


def _refusal(name: str) -> tuple[str, str] | None:
    """Returns why the optimizer is refused and what to use instead; None if it is accepted."""
    for parts, reason, instead in _REFUSED:
        if any(part in name for part in parts):
            return reason, instead
    return None


def _require_engine_for(name: str, engine: Engine) -> None:
    hint = "use one of PyTorch's, such as `adamw_torch_fused` or `sgd`"
    if engine.sharded and name.startswith(_SCHEDULE_FREE):
        raise LoraparError(
            f"optimizer `{name}` cannot be used under {engine}",
            "it is evaluated at another point than it trains at, and shards cannot be moved there",
            hint,
        )
    if engine is Engine.FSDP2 and name not in _PYTORCH:
        raise LoraparError(
            f"optimizer `{name}` does not support the sharded parameters of {engine}",
            hint=f"{hint}, or DeepSpeed",
        )


def optimizer_notes(options: TrainingOptions, engine: Engine) -> list[str]:
    """Returns what a user must know about the optimizer's state and learning rate."""
    name, notes = options.optimizer, []
    if engine.sharded:
        notes.append(f"trained under {engine}: optimizer state exists for frozen elements too")
    if name.startswith(_SCHEDULE_FREE) and options.scheduler != "constant":
        notes.append(
            f"optimizer `{name}` is meant for a constant learning rate: use `--scheduler constant` "
            f"instead of `{options.scheduler}`"
        )
    return notes


def make_optimizer(
    args: TrainingArguments, values: list[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """Returns the optimizer that the arguments name, over `values` as one group.

    Raises:
        LoraparError: The library behind it refuses.
    """
    try:
        optimizer_class, arguments = Trainer.get_optimizer_cls_and_kwargs(args)
        group = {"params": values, "weight_decay": args.weight_decay}
        return optimizer_class([group], **arguments)
    except (ImportError, ValueError, TypeError) as cause:
        name = OptimizerNames(args.optim).value
        raise LoraparError(f"optimizer `{name}` cannot be created", str(cause).strip()) from cause
