"""Optimizers by the names of `TrainingArguments`: what each needs, owns, and keeps in checkpoints.

Most act on vectors and own the active elements alone. The others own whole matrices
(`training.masking.dense_masking`): those that project or quantise matrices, and those that step inside the
backward pass, matrix by matrix, so that no gradient has to be kept.
"""

import copy
import importlib.util
import os
import warnings
from collections.abc import Mapping
from enum import StrEnum

import torch
from transformers import Trainer
from transformers.training_args import OptimizerNames

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.training.masking.engines import Engine
from lorapar_cli.training.masking.optimizer_state import (
    Layerwise,
    keep_projectors,
    make_lomo,
    match_grokadamw,
)

_LAYERWISE = "_layerwise"
_LOW_RANK = ("galore", "apollo")
# torchao compiles its step for each shape, quantises whole blocks, and there are few shapes of
# matrices, but as many lengths of vectors as there are vectors.
_TORCHAO = ("adamw_torch_4bit", "adamw_torch_8bit")
_PYTORCH = ("adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "rmsprop")
_SCHEDULE_FREE = "schedule_free"
_LORA_MODULES = r".*\.lora_[AB]\..*"

# What a name contains -> module that must be there, how to get it.
_PACKAGES = (
    (("galore",), "galore_torch", "`pip install galore-torch`"),
    (("apollo",), "apollo_torch", "`pip install apollo-torch`"),
    (("lomo",), "lomo_optim", "`pip install lomo-optim`"),
    (("grokadamw",), "grokadamw", "`pip install grokadamw`"),
    ((_SCHEDULE_FREE,), "schedulefree", "`pip install schedulefree`"),
    (("stable_adamw",), "optimi", "`pip install torch-optimi`"),
    (_TORCHAO, "torchao", "`pip install torchao`"),
    (
        # GaLore's and APOLLO's packages import it whatever is used of them.
        ("bnb", "lion", "paged", "ademamix", "adamw_8bit", "galore", "apollo"),
        "bitsandbytes",
        "`pip install 'lorapar[quantize]'`",
    ),
    (
        ("anyprecision",),
        "torchdistx",
        "it is in no package registry: build github.com/pytorch/torchdistx",
    ),
    (("xla",), "torch_xla", "it is for TPUs: choose another optimizer elsewhere"),
    (("npu",), "torch_npu", "it is for Ascend NPUs: choose another optimizer elsewhere"),
)
# These call CUDA by name.
_GPU_ONLY = ("adalomo", "galore_adamw_8bit", "galore_adamw_8bit_layerwise")


class OptimizerTarget(StrEnum):
    """What an optimizer is given, and when it steps."""

    VECTORS = "vectors of active elements"
    MATRICES = "whole matrices"
    BACKWARD = "whole matrices, stepped on inside the backward pass"


def owned_by(name: str) -> OptimizerTarget:
    """Returns what the optimizer of that name is given where one process holds all parameters."""
    if name.endswith(_LAYERWISE) or "lomo" in name:
        return OptimizerTarget.BACKWARD
    return (
        OptimizerTarget.MATRICES
        if name.startswith((*_LOW_RANK, *_TORCHAO))
        else OptimizerTarget.VECTORS
    )


def require_optimizer(options, engine: Engine, environment: Mapping[str, str] = os.environ) -> None:
    """Checks that the optimizer can run here, before anything is loaded.

    Args:
        options: `SftOptions` or `RlOptions`.

    Raises:
        UsageError: The name is unknown, or other options do not fit it.
        LoraparError: A package or device is missing, or the engine cannot be used with it.
    """
    name = options.optimizer
    names = sorted(each.value for each in OptimizerNames)
    if name not in names:
        raise UsageError(
            f"unknown optimizer `{name}`{nearest(name, names)}",
            hint=f"optimizers: {', '.join(names)}",
        )
    for parts, module, hint in _PACKAGES:
        if any(part in name for part in parts) and importlib.util.find_spec(module) is None:
            raise LoraparError(f"optimizer `{name}` needs `{module}`", "it is not installed", hint)
    if name in _GPU_ONLY and not torch.cuda.is_available():
        raise LoraparError(
            f"optimizer `{name}` needs a GPU", "its library calls CUDA by name", "choose another"
        )
    _require_engine_for(name, engine)
    if owned_by(name) is OptimizerTarget.BACKWARD:
        _require_plain_backward(name, options, environment)


def _require_engine_for(name: str, engine: Engine) -> None:
    hint = "use one of PyTorch's, such as `adamw_torch_fused` or `sgd`"
    if engine.sharded and owned_by(name) is not OptimizerTarget.VECTORS:
        raise LoraparError(
            f"optimizer `{name}` cannot be used under {engine}",
            "it needs whole matrices, which the engine divides",
            hint,
        )
    if engine.sharded and name.startswith(_SCHEDULE_FREE):
        raise LoraparError(
            f"optimizer `{name}` cannot be used under {engine}",
            "what it has learnt would have to be moved to another point than it trains at",
            hint,
        )
    if engine is Engine.FSDP2 and name not in _PYTORCH:
        raise LoraparError(
            f"optimizer `{name}` does not know the parameters of {engine}",
            hint=f"{hint}, or DeepSpeed",
        )


def _require_plain_backward(name: str, options, environment: Mapping[str, str]) -> None:
    """Refuses what changes or delays gradients after the backward pass has used them."""
    if options.gradient_accumulation != 1:
        raise UsageError(
            f"optimizer `{name}` cannot accumulate gradients",
            "it steps inside of every backward pass",
            "give `--gradient-accumulation 1`",
        )
    if int(environment.get("WORLD_SIZE", "1")) > 1:
        raise LoraparError(
            f"optimizer `{name}` cannot be used by several processes",
            "it steps before their gradients are averaged",
            "launch one process, or choose an optimizer that steps after the backward pass",
        )
    if options.dtype == "float16" and torch.cuda.is_available():
        raise UsageError(
            f"optimizer `{name}` cannot be used with `--dtype float16`",
            "it steps before gradients are unscaled",
            "give `--dtype bfloat16`",
        )


def optimizer_notes(options, engine: Engine) -> list[str]:
    """Returns what must be known of the optimizer's state and steps."""
    name, notes = options.optimizer, []
    owns = owned_by(name)
    if engine.sharded:
        notes.append(f"trained under {engine}: optimizer state exists for frozen elements too")
    elif owns is not OptimizerTarget.VECTORS and name != "lomo":
        notes.append(
            f"optimizer `{name}` owns whole matrices: its state exists for frozen elements too"
        )
    if owns is OptimizerTarget.BACKWARD:
        notes.append(
            f"optimizer `{name}` steps inside the backward pass: gradients are not clipped, and "
            "their norm is not known"
        )
    if name.startswith(_SCHEDULE_FREE) and options.scheduler != "constant":
        notes.append(
            f"optimizer `{name}` is meant for a constant rate: `--scheduler constant` instead of "
            f"`{options.scheduler}`"
        )
    return notes


def make_optimizer(args, model: torch.nn.Module, values: list[torch.nn.Parameter], rank: int):
    """Returns the optimizer that the arguments name, over `values`.

    Args:
        args: TrainingArguments.
        model: Its parameters that require gradients are `values`, unless these are vectors.
        rank: Of the adapter; GaLore and APOLLO project to half of it unless told otherwise.

    Raises:
        LoraparError: The library behind it refuses.
    """
    name = str(OptimizerNames(args.optim).value)
    asked = copy.copy(args)
    asked.optim = OptimizerNames(name.removesuffix(_LAYERWISE))
    if name.startswith(_LOW_RANK):
        asked.optim_target_modules = args.optim_target_modules or _LORA_MODULES
        if "rank=" not in (args.optim_args or "").replace(" ", ""):
            asked.optim_args = ",".join(
                filter(None, [args.optim_args, f"rank={max(1, rank // 2)}"])
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            optimizer_class, arguments = Trainer.get_optimizer_cls_and_kwargs(asked, model)
            if "model" in arguments:
                return make_lomo(optimizer_class, arguments, args.weight_decay)
            groups = _groups(arguments.pop("params", [{"params": values}]), args.weight_decay)
            if name.endswith(_LAYERWISE):
                each = [
                    optimizer_class([group | {"params": [parameter]}], **arguments)
                    for group in groups
                    for parameter in group["params"]
                ]
                optimizer = Layerwise(each)
            else:
                optimizer = optimizer_class(groups, **arguments)
    except (ImportError, ValueError, TypeError) as cause:
        raise LoraparError(f"optimizer `{name}` cannot be made", str(cause).strip()) from cause
    if name.startswith(_LOW_RANK):
        for one in optimizer.each if isinstance(optimizer, Layerwise) else [optimizer]:
            keep_projectors(one)
    if name == "grokadamw":
        optimizer.register_load_state_dict_post_hook(match_grokadamw)
    return optimizer


def _groups(groups: list[dict], weight_decay: float) -> list[dict]:
    trained = [
        group
        | {
            "params": [p for p in group["params"] if p.requires_grad],
            "weight_decay": weight_decay,
        }
        for group in groups
    ]
    return [group for group in trained if group["params"]]
