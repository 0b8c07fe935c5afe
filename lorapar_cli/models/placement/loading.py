"""Base models loaded to where they are to lie."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from transformers import PreTrainedModel

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.base_model import BaseModel, load_base, pick_device
from lorapar_cli.models.placement.placement import Placement
from lorapar_cli.models.placement.sharding import shard_base
from lorapar_cli.names import Attention
from lorapar_cli.plurals import counted

_READ_BY_ONE = "FSDP_CPU_RAM_EFFICIENT_LOADING"


def load_placed(
    base: BaseModel,
    placement: Placement,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    quantize: str | None = None,
    attention: Attention | None = None,
) -> torch.nn.Module:
    """Returns the base model in evaluation mode, whole, sharded or distributed over GPUs.

    Raises:
        LoraparError: It cannot be loaded or sharded, or does not fit on the GPUs.
    """
    if placement.processes is not None:
        with _every_process_reads():
            model = load_base(base, dtype, trust_remote_code, keep_on_cpu=True, attention=attention)
        return shard_base(cast(PreTrainedModel, model), placement.processes.count, pick_device())
    model = load_base(
        base,
        dtype,
        trust_remote_code,
        quantize,
        device_map=placement.device_map,
        attention=attention,
    )
    if placement.device_map:
        _require_on_gpus(base.id, model)
    return model


@contextmanager
def _every_process_reads() -> Iterator[None]:
    """Lets every process map the weights' files: the library would leave it to one of a machine.

    It expects the trainer of accelerate to distribute them, which does not run here.
    """
    was = os.environ.pop(_READ_BY_ONE, None)
    try:
        yield
    finally:
        if was is not None:
            os.environ[_READ_BY_ONE] = was


def _require_on_gpus(name: str, model: torch.nn.Module) -> None:
    """Refuses a model part of which was left in main memory or on disk for lack of room.

    Raises:
        LoraparError: It was.
    """
    devices = getattr(model, "hf_device_map", {})
    left = sorted(place for place, device in devices.items() if str(device) in ("cpu", "disk"))
    others = f"and {counted(len(left) - 1, 'other module')} were " if left[1:] else "was "
    if left and torch.cuda.is_available():
        raise LoraparError(
            f"base model `{name}` does not fit on the GPUs of this machine",
            f"`{left[0]}` {others}left in main memory or on disk",
            "use a smaller `--dtype` or `--quantize`, or several machines with `--shard`",
        )
