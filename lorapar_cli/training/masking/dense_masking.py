"""Freezing elements of matrices, where the optimizer owns matrices instead of vectors.

Engines that divide parameters, gradients and optimizer state between processes know matrices, not
elements. So gradients of frozen elements are zeroed before anything else reads them, and frozen
elements get their values back after every optimizer step, in each process on the part that it
holds. This is exact for any optimizer, whatever it does to an element without a gradient, but its
state exists for frozen elements too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Shard:
    """The part of a matrix whose values this process's optimizer changes.

    Attributes:
        active: bool, any shape; True means active.
        start: float32, same shape: the values that frozen elements keep.
        read: Returns the part's current values, float32, same shape.
        write: Replaces them.
    """

    active: torch.Tensor
    start: torch.Tensor
    read: Callable[[], torch.Tensor]
    write: Callable[[torch.Tensor], object]


@torch.no_grad()
def restore_frozen(shards: list[Shard]) -> None:
    """Gives frozen elements of every shard the values that they started from."""
    for shard in shards:
        shard.write(torch.where(shard.active, shard.read(), shard.start))


@torch.no_grad()
def zero_frozen(gradient: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
    """Returns the gradient with zeros for frozen elements, also where it was infinite or NaN."""
    return torch.where(
        active, gradient, torch.zeros((), dtype=gradient.dtype, device=gradient.device)
    )


def mask_in_backward(parameter: torch.nn.Parameter, active: torch.Tensor) -> None:
    """Zeroes gradients of frozen elements, before hooks that are registered later see them."""
    on_device: dict[torch.device, torch.Tensor] = {}

    def mask(gradient: torch.Tensor) -> torch.Tensor:
        if gradient.device not in on_device:
            on_device[gradient.device] = active.to(gradient.device)
        return zero_frozen(gradient, on_device[gradient.device])

    parameter.register_hook(mask)
