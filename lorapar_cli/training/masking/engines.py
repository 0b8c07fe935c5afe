"""Engines that shard a model over processes: which one was requested, and which one runs.

`accelerate launch` requests one through environment variables. Engines under which frozen elements
cannot be kept bit-identical are refused before any work; an engine that accelerate silently
replaced by another is an error.
"""

import importlib.util
import json
import os
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError

_LAUNCHER = "`accelerate launch --config_file sample_configs/accelerate-{}.yaml -m lorapar_cli ...`"
_WORKS = f"use FSDP2: {_LAUNCHER.format('fsdp2')}, or plain data parallelism: `torchrun`"


class Engine(StrEnum):
    """What holds the parameters of a training run."""

    WHOLE = "one process or data parallel"
    FSDP2 = "FSDP2"
    ZERO2 = "DeepSpeed ZeRO-2"
    ZERO3 = "DeepSpeed ZeRO-3"

    @property
    def sharded(self) -> bool:
        """Whether no process holds all parameters, gradients or optimizer state."""
        return self is not Engine.WHOLE

    @property
    def divides_parameters(self) -> bool:
        """Whether the base model's parameters are divided too, so that it need not fit one GPU."""
        return self in (Engine.FSDP2, Engine.ZERO3)


def requested_engine(environment: Mapping[str, str] = os.environ) -> Engine:
    """Returns the engine that the launcher requested.

    Raises:
        LoraparError: Frozen elements cannot be kept under it, or it is not installed.
    """
    if _is_on(environment, "ACCELERATE_USE_MEGATRON_LM"):
        raise LoraparError(
            "Megatron-LM cannot train active elements only",
            "it replaces the model's modules with its own (`ACCELERATE_USE_MEGATRON_LM`)",
            _WORKS,
        )
    if _is_on(environment, "ACCELERATE_USE_PARALLELISM_CONFIG"):
        _refuse_parallel_dimensions(environment)
    fsdp, deepspeed = (
        _is_on(environment, f"ACCELERATE_USE_{name}") for name in ("FSDP", "DEEPSPEED")
    )
    if fsdp and deepspeed:
        raise LoraparError("both FSDP and DeepSpeed were requested", hint="choose one of them")
    if fsdp:
        # accelerate's own default is FSDP1.
        if environment.get("FSDP_VERSION", "1") != "2":
            raise LoraparError(
                "FSDP1 cannot train active elements only",
                "it flattens parameters, so that elements lose their positions",
                f"set `fsdp_version: 2`: {_LAUNCHER.format('fsdp2')}",
            )
        return Engine.FSDP2
    return _requested_zero(environment) if deepspeed else Engine.WHOLE


def require_engine(accelerator: Any, environment: Mapping[str, str] = os.environ) -> Engine:
    """Returns the engine that accelerate runs, which is the one that was requested.

    Raises:
        LoraparError: It is another one; on a CPU accelerate turns a request for FSDP into DDP.
    """
    requested = requested_engine(environment)
    kind = accelerator.distributed_type.value
    if kind == "FSDP":
        found = Engine.FSDP2 if accelerator.is_fsdp2 else None
    elif kind == "DEEPSPEED":
        found = _ZERO.get(accelerator.state.deepspeed_plugin.zero_stage)
    else:
        # NO, MULTI_CPU, MULTI_GPU and the like hold all parameters in every process.
        found = Engine.WHOLE if kind == "NO" or kind.startswith("MULTI_") else None
    if found is not requested:
        raise LoraparError(
            f"{requested} was requested, but accelerate does not run it",
            f"its distributed type is `{kind}`",
            "FSDP2 needs GPUs and one process for each; on CPUs launch with `torchrun`"
            if requested is Engine.FSDP2
            else _WORKS,
        )
    return found


def require_same_engine(checkpoint: Path, engine: Engine, processes: int) -> None:
    """Refuses to resume under another engine, or under a sharding one with other processes.

    Raises:
        LoraparError: The checkpoint is one of another engine or number of processes.
    """
    found = _checkpoint_engine(checkpoint)
    # Each process writes the state of its random number generators.
    wrote = max(1, len(list(checkpoint.glob("rng_state_*.pth"))))
    if found is engine and (wrote == processes or not engine.sharded):
        return
    raise LoraparError(
        f"`{checkpoint}` cannot be resumed by this launch",
        f"it was written under {found} by {wrote} processes, this is {engine} with {processes}",
        f"launch as before, or remove `{checkpoint.parent}` to start over",
    )


def _checkpoint_engine(checkpoint: Path) -> Engine:
    if any(checkpoint.glob("pytorch_model_fsdp*")):
        return Engine.FSDP2
    if not (checkpoint / "latest").exists():
        return Engine.WHOLE
    # Under ZeRO-3 every process writes the state of its part of the model.
    divided = any(checkpoint.glob("global_step*/zero_pp_rank_*_model_states.pt"))
    return Engine.ZERO3 if divided else Engine.ZERO2


_ZERO = {2: Engine.ZERO2, 3: Engine.ZERO3}


def _requested_zero(environment: Mapping[str, str]) -> Engine:
    config = _deepspeed_config(environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none"))
    if config.get("tensor_parallel", {}).get("autotp_size", 1) > 1:
        raise _no_parallel_dimension("tensor parallelism", "`tensor_parallel` in DeepSpeed's file")
    if taken := sorted({"optimizer", "scheduler"} & config.keys()):
        raise LoraparError(
            f"DeepSpeed's file sets `{'` and `'.join(taken)}`",
            "the stage's own options decide this",
            "remove it there, and use `--optimizer`, `--scheduler` and `--learning-rate`",
        )
    stage = config.get("zero_optimization", {}).get("stage")
    if stage is None:
        stage = 0 if config else environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    if int(stage) not in _ZERO:
        raise LoraparError(
            f"DeepSpeed ZeRO-{stage} is not supported",
            "frozen elements can be kept under ZeRO-2 and ZeRO-3 only",
            f"set `zero_stage: 2` or `3`: {_LAUNCHER.format('zero2')}",
        )
    if importlib.util.find_spec("deepspeed") is None:
        raise LoraparError(
            "DeepSpeed was requested but is not installed",
            hint="`pip install 'lorapar[deepspeed]'`",
        )
    return _ZERO[int(stage)]


def _deepspeed_config(source: str) -> dict[str, Any]:
    """Returns DeepSpeed's own configuration, from a JSON file or base64 as accelerate takes it."""
    if source == "none":
        return {}
    try:
        path = Path(source)
        text = path.read_text("utf-8") if path.exists() else urlsafe_b64decode(source).decode()
        return json.loads(text)
    except (OSError, ValueError) as cause:
        raise LoraparError(
            f"cannot read DeepSpeed's configuration `{source}`", str(cause)
        ) from cause


def _refuse_parallel_dimensions(environment: Mapping[str, str]) -> None:
    """Refuses a device mesh with more than one dimension of FSDP2 or DDP."""
    for key, name in (
        ("TP_SIZE", "tensor parallelism"),
        ("CP_SIZE", "context parallelism"),
        ("SP_SIZE", "sequence parallelism"),
        ("DP_REPLICATE_SIZE", "replicated sharding (HSDP)"),
    ):
        variable = f"PARALLELISM_CONFIG_{key}"
        if int(environment.get(variable, "1")) > 1:
            raise _no_parallel_dimension(name, f"`{variable}` is {environment[variable]}")


def _no_parallel_dimension(name: str, found: str) -> LoraparError:
    return LoraparError(
        f"{name} is not supported when only active elements are trained", found, _WORKS
    )


def _is_on(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() in ("true", "1", "yes", "on")
