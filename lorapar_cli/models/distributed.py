"""Collective operations between the processes of one launch."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from lorapar_cli.errors import LoraparError
from lorapar_cli.launcher import is_launched, world_size

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a launch, seen from this one.

    Attributes:
        rank: From 0; rank 0 writes results.
        count: Number of processes on all nodes.
    """

    rank: int
    count: int

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Returns this process's part of a list that is the same in every process."""
        return items[self.rank :: self.count]

    def add_up(self, tensor: torch.Tensor) -> None:
        """Replaces the tensor by its sum over all processes, in each of them."""
        if self.count > 1:
            torch.distributed.all_reduce(tensor)

    def complete(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Returns a list of which each process has its share, whole and the same in each of them.

        Args:
            values: Those that other processes have are 0 here.
            device: Where processes exchange tensors.
        """
        if self.count == 1:
            return list(values)
        # float64 holds every float as it is, and adding zeros to it changes nothing.
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        self.add_up(tensor)
        return [float(value) for value in tensor.tolist()]

    def merge(self, found: dict[int, T]) -> dict[int, T]:
        """Returns what all processes have found together, by ascending keys, in each of them."""
        parts: list[Any] = [found]
        if self.count > 1:
            parts = [None] * self.count
            torch.distributed.all_gather_object(parts, found)
        merged = {key: value for part in parts for key, value in part.items()}
        return {key: merged[key] for key in sorted(merged)}

    def copy_from_main(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replaces each tensor by that of rank 0, in every process."""
        if self.count > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, src=0)

    def on_main(self, function: Callable[[], T]) -> T:
        """Runs `function` on rank 0 and returns its result in every process.

        Raises:
            LoraparError: `function` raised it; every process does, so that none waits for ever.
        """
        if self.count == 1:
            return function()
        outcome: list[Any] = [None, None]
        if self.rank == 0:
            try:
                outcome[0] = function()
            except LoraparError as error:
                outcome[1] = (error.what, error.found, error.hint)
        torch.distributed.broadcast_object_list(outcome, src=0)
        if outcome[1] is not None:
            raise LoraparError(*outcome[1])
        return outcome[0]

    def wait(self) -> None:
        """Returns once every process has called it."""
        if self.count > 1:
            torch.distributed.barrier()


ALONE = Processes(0, 1)
"""One process without a launcher."""


def join_processes() -> Processes:
    """Joins the processes of `torchrun` or `accelerate launch`; one process without a launcher.

    Raises:
        LoraparError: The launcher started fewer processes than it was asked for: this one would do
            all the work alone, without an error.
    """
    wanted = world_size()
    # `accelerate launch --cpu --num_processes N` sets a master address and starts one process.
    alone = not is_launched() and "ACCELERATE_MIXED_PRECISION" in os.environ
    if alone and "MASTER_ADDR" in os.environ:
        raise LoraparError(
            "`accelerate launch` started fewer processes than it was asked for",
            "more than one process was asked for, this one is alone",
            "use `torchrun --nproc_per_node N -m lorapar_cli ...`, or `accelerate launch "
            "--multi_gpu`",
        )
    if wanted == 1:
        return ALONE
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    if state.num_processes != wanted:
        raise LoraparError(
            "the launcher started fewer processes than it was asked for",
            f"WORLD_SIZE is {wanted}, {state.num_processes} joined",
            "check the launcher's own messages; `torchrun` is the simplest launcher",
        )
    return Processes(state.process_index, state.num_processes)
