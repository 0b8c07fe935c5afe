"""Engines that shard a training run: the one that accelerate runs, and the one a checkpoint is of.

An engine that accelerate silently replaced by another is an error.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.placement.engines import INSTEAD, ZERO_STAGES, Engine, requested_engine
from lorapar_cli.plurals import counted


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
        found = ZERO_STAGES.get(accelerator.state.deepspeed_plugin.zero_stage)
    else:
        # NO, MULTI_CPU, MULTI_GPU and the like hold all parameters in every process.
        found = Engine.WHOLE if kind == "NO" or kind.startswith("MULTI_") else None
    if found is not requested:
        raise LoraparError(
            f"{requested} was requested, but accelerate does not run it",
            f"its distributed type is `{kind}`",
            "FSDP2 needs GPUs and one process for each; on CPUs launch with `torchrun`"
            if requested is Engine.FSDP2
            else INSTEAD,
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
        f"it was written under {found} by {counted(wrote, 'process', 'processes')}, "
        f"this is {engine} with {processes}",
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
