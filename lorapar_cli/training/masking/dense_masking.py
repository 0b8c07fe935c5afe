"""Training chosen elements where the optimizer must own whole matrices.

Engines that divide parameters, gradients and optimizer state between processes know matrices, not
elements, and some optimizers are about matrices. So gradients of frozen elements are made zero
before anything else reads them, and frozen elements get their values back after every optimizer
step, in each process on the part that it holds. This is exact for any optimizer, whatever it does
to an element without a gradient; but its state exists for frozen elements too.
"""

from collections.abc import Callable, Mapping
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
    """Gives the frozen elements of every shard the values that they started from."""
    for shard in shards:
        shard.write(torch.where(shard.active, shard.read(), shard.start))


@torch.no_grad()
def zero_frozen(gradient: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
    """Returns the gradient with zeros where it is frozen, also where it was not a number."""
    return torch.where(
        active, gradient, torch.zeros((), dtype=gradient.dtype, device=gradient.device)
    )


def mask_in_backward(parameter: torch.nn.Parameter, active: torch.Tensor) -> None:
    """Zeroes the parameter's gradients where frozen, before hooks registered later see them."""
    on_device: dict[torch.device, torch.Tensor] = {}

    def mask(gradient: torch.Tensor) -> torch.Tensor:
        if gradient.device not in on_device:
            on_device[gradient.device] = active.to(gradient.device)
        return zero_frozen(gradient, on_device[gradient.device])

    parameter.register_hook(mask)


class WholeMatrices:
    """Matrices that one process holds whole; the interface is that of `masking.ActiveElements`.

    Args:
        parameters: Name -> LoRA matrix, float32. A matrix without an active element stops
            requiring gradients.
        active: Name -> bool tensor of the matrix's shape; True means active. Same names.
        start: Name -> float32 tensor of that shape, the values that training started from.
        in_backward: Whether the optimizer steps while gradients are still being computed: they are
            masked as they come then, and frozen values restored after the backward pass.
    """

    def __init__(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        active: Mapping[str, torch.Tensor],
        start: Mapping[str, torch.Tensor],
        *,
        in_backward: bool,
    ) -> None:
        self._in_backward = in_backward
        self.values: list[torch.nn.Parameter] = []
        self._shards: list[Shard] = []
        for name, parameter in parameters.items():
            chosen = active[name].to(parameter.device)
            parameter.requires_grad_(bool(chosen.any()))
            if parameter.requires_grad:
                self.values.append(parameter)
                self._shards.append(_whole_shard(parameter, chosen, start[name]))
                if in_backward:
                    mask_in_backward(parameter, chosen)

    @torch.no_grad()
    def gather(self) -> None:
        """Masks the gradients of a whole batch, or restores what was stepped on meanwhile."""
        if self._in_backward:
            restore_frozen(self._shards)
            return
        for parameter, shard in zip(self.values, self._shards, strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(zero_frozen(parameter.grad, shard.active))

    def scatter(self) -> None:
        """Gives frozen elements their values back."""
        restore_frozen(self._shards)

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Makes every step of `optimizer` give frozen elements their values back."""
        optimizer.register_step_post_hook(lambda *_: self.scatter())


def _whole_shard(parameter: torch.nn.Parameter, active: torch.Tensor, start: torch.Tensor) -> Shard:
    def write(values: torch.Tensor) -> None:
        # Looked up each time: some optimizers put other memory behind a parameter.
        parameter.data.copy_(values)

    return Shard(active, start.to(parameter.device, copy=True), lambda: parameter.data, write)
