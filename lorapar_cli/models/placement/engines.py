"""Engines that shard a model over processes: which one a launch requested.

`accelerate launch` requests one through environment variables. Engines under which frozen elements
cannot be kept bit-identical are refused before any work.
"""

import importlib.util
import json
import os
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.libraries import require_libraries

_LAUNCHER = "`accelerate launch --config_file sample_configs/accelerate-{}.yaml -m lorapar_cli ...`"
INSTEAD = f"use FSDP2: {_LAUNCHER.format('fsdp2')}, or plain data parallelism: `torchrun`"


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
            INSTEAD,
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


ZERO_STAGES = {2: Engine.ZERO2, 3: Engine.ZERO3}
"""Stage of DeepSpeed -> engine; frozen elements cannot be kept under the others."""


def require_one_process(
    device_map: str | None,
    count: int,
    hint: str = "omit the launcher, or `--device-map`: each process then uses one GPU",
) -> None:
    """Refuses several processes that would each distribute a model over the same GPUs.

    Args:
        device_map: As given; None for none.
        count: Number of processes.

    Raises:
        UsageError: There are several, and a device map.
    """
    if device_map is not None and count > 1:
        raise UsageError(
            f"`--device-map {device_map}` gives all GPUs to one process",
            f"{count} processes were launched",
            hint,
        )


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
    if int(stage) not in ZERO_STAGES:
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
    require_libraries(["deepspeed"], "DeepSpeed's engine")
    return ZERO_STAGES[int(stage)]


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
        f"{name} is not supported when only active elements are trained", found, INSTEAD
    )


def _is_on(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() in ("true", "1", "yes", "on")
