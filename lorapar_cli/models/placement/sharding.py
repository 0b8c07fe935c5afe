"""A frozen base model that FSDP2 divides over processes, and forward passes in step.

Each layer's weights are gathered from all processes when they are needed and dropped afterwards.
So every pass of one process needs all others to run a pass at the same time, while the processes
have different numbers of batches, of different sizes: `in_step` takes care of that. The adapter
is not divided. Gathered weights are the whole ones, bit for bit, and so is what is computed.

Differs from sharded training, where accelerate divides the adapter too and every process takes the
same number of steps (`training.masking`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.base_model import transformers_model


def shard_base(model: PreTrainedModel, count: int, device: torch.device) -> PreTrainedModel:
    """Returns the model, frozen, each of its layers divided over the processes of the launch.

    Args:
        model: In main memory, the same in every process. Whole layers pass through the device one
            after the other.
        count: Number of processes.
        device: This process's.

    Raises:
        LoraparError: The model does not say which of its modules are layers.
    """
    names = set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        raise LoraparError(
            "this base model cannot be sharded",
            f"`{type(model).__name__}` does not name the modules that are its layers",
            "omit `--shard`; one process uses all GPUs of its machine with `--device-map auto`",
        )
    model.requires_grad_(False)
    mesh = init_device_mesh(device.type, (count,))
    # A layer may contain others: inner ones first.
    for module in (*reversed(layers), model):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    # Buffers of gathered weights are made by the first pass. Made in inference mode, they could not
    # be used outside it.
    run_one_token(model)
    return model


def is_sharded(model: torch.nn.Module) -> bool:
    """Returns whether the model, with or without an adapter, is divided over processes."""
    return isinstance(transformers_model(model), FSDPModule)


def whole_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Returns all of a tensor that may be divided; every process must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def run_one_token(model: torch.nn.Module) -> None:
    """Runs the smallest forward pass there is, for the sake of other processes."""
    inner = transformers_model(model)
    ids = torch.zeros(1, 1, dtype=torch.long, device=inner.device)
    if inner.config.is_encoder_decoder:
        inner(input_ids=ids, decoder_input_ids=ids, use_cache=False)
    else:
        inner(input_ids=ids, use_cache=False)


@contextmanager
def in_step(model: torch.nn.Module, idle: Callable[[], object] | None = None) -> Iterator[None]:
    """While open, processes run any number of passes each; it closes when all have finished.

    All passes between opening and closing must be alike: all with a backward pass after them, or
    all without. A model that is not divided needs nothing of this.

    Args:
        model: With or without an adapter, the same in every process.
        idle: Runs one such pass without effect, while other processes still work; None for passes
            without a backward pass.
    """
    if not is_sharded(model):
        yield
        return
    inner = transformers_model(model)
    announcing = True

    def announce(*_: object) -> None:
        if announcing:
            _count_working(True, inner.device)

    # Before the hook that gathers the first weights: processes announce in the same order as they
    # gather.
    handle = inner.register_forward_pre_hook(announce, prepend=True)
    try:
        yield
        announcing = False
        while _count_working(False, inner.device):
            if idle is None:
                run_one_token(model)
            else:
                idle()
    finally:
        handle.remove()


def _count_working(working: bool, device: torch.device) -> int:
    """Returns how many processes are about to run a pass of their own."""
    count = torch.tensor(int(working), device=device)
    torch.distributed.all_reduce(count)
    return int(count.item())
