"""Chosen elements of matrices that FSDP2 or DeepSpeed has divided between processes.

Differs: beside the vectors of active elements that one process and DDP train by
(`training.masking.active_elements.ActiveElements`, the same interface), optimizer state is dense here.
"""

from collections.abc import Mapping

import torch
from torch.distributed.tensor import DTensor, distribute_tensor

from lorapar_cli.training.masking.dense_masking import (
    Shard,
    mask_in_backward,
    restore_frozen,
    zero_frozen,
)
from lorapar_cli.training.masking.engines import Engine


class ShardedElements:
    """The matrices as an optimizer owns them, frozen elements kept.

    Args:
        engine: What will divide the matrices.
        parameters: Name -> LoRA matrix, whole, float32.
        active: Name -> bool tensor of the matrix's shape; True means active.
        start: Name -> float32 tensor of that shape, the values that training started from.
    """

    def __init__(
        self,
        engine: Engine,
        parameters: Mapping[str, torch.nn.Parameter],
        active: Mapping[str, torch.Tensor],
        start: Mapping[str, torch.Tensor],
    ) -> None:
        self._engine, self._active, self._start = engine, active, start
        self._names = list(parameters)
        self._values = list(parameters.values())
        self._shards: list[Shard] = []
        if engine is not Engine.FSDP2:
            # DeepSpeed steps inside of its backward pass: masking afterwards would be too late.
            for name, parameter in parameters.items():
                mask_in_backward(parameter, active[name])

    @property
    def values(self) -> list[torch.nn.Parameter]:
        """What the optimizer owns: the matrices."""
        return self._values

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Makes every step of `optimizer` give frozen elements their values back."""
        optimizer.register_step_post_hook(lambda *_: restore_frozen(self._shards))

    @torch.no_grad()
    def find_shards(self, parameters: Mapping[str, torch.nn.Parameter], fresh: bool) -> None:
        """Takes the parts that this process holds, once the engine has divided the matrices.

        Args:
            parameters: The divided matrices, names as before.
            fresh: Whether training starts here; DeepSpeed then gets the starting values again,
                since with a bfloat16 model it rounds what it takes its float32 copies from.
        """
        self._values = [parameters[name] for name in self._names]
        self._shards = [
            shard
            for name in self._names
            if (shard := self._shard(parameters[name], self._active[name], self._start[name]))
        ]
        if fresh and self._engine is not Engine.FSDP2:
            for shard in self._shards:
                shard.write(shard.start)

    def _shard(
        self, parameter: torch.nn.Parameter, active: torch.Tensor, start: torch.Tensor
    ) -> Shard | None:
        if self._engine is Engine.FSDP2:
            return _fsdp2_shard(parameter, active, start)
        if self._engine is Engine.ZERO2:
            return _zero2_shard(parameter, active, start)
        return _zero3_shard(parameter, active, start)

    @torch.no_grad()
    def gather(self) -> None:
        """Masks the gradients of a whole batch; under DeepSpeed they are masked already."""
        if self._engine is Engine.FSDP2:
            for parameter, shard in zip(self._values, self._shards, strict=True):
                if parameter.grad is not None:
                    local = parameter.grad.to_local()
                    local.copy_(zero_frozen(local, shard.active))


def _fsdp2_shard(parameter: DTensor, active: torch.Tensor, start: torch.Tensor) -> Shard:
    device = parameter.to_local().device

    def local(whole: torch.Tensor) -> torch.Tensor:
        # Every process has the whole tensor: without a source rank nothing is sent.
        placed = distribute_tensor(
            whole.to(device), parameter.device_mesh, parameter.placements, src_data_rank=None
        )
        return placed.to_local().clone()

    return Shard(
        local(active),
        local(start),
        parameter.to_local,
        lambda values: parameter.to_local().copy_(values),
    )


def _zero2_shard(
    parameter: torch.nn.Parameter, active: torch.Tensor, start: torch.Tensor
) -> Shard | None:
    """Returns the matrix's part in this process's float32 partition; None where it has none."""
    mapping = parameter._hp_mapping
    if mapping is None:
        return None
    values, address = mapping.hp_fragment, mapping.lp_fragment_address

    def local(whole: torch.Tensor) -> torch.Tensor:
        part = whole.flatten().narrow(0, address.start, address.numel)
        return part.to(values.device, copy=True)

    return Shard(local(active), local(start), lambda: values, values.copy_)


def _zero3_shard(
    parameter: torch.nn.Parameter, active: torch.Tensor, start: torch.Tensor
) -> Shard | None:
    """Returns the matrix's part in this process's float32 partition; None where it has none."""
    from deepspeed.utils import safe_get_local_fp32_param, safe_set_local_fp32_param

    values = safe_get_local_fp32_param(parameter)
    size, rank = values.numel(), torch.distributed.get_rank(parameter.ds_process_group)

    def local(whole: torch.Tensor) -> torch.Tensor:
        # The last process's part is padded; padding is frozen at what it was.
        part = whole.flatten()[rank * size : (rank + 1) * size]
        padded = part.new_zeros(size)
        padded[: len(part)] = part
        return padded.to(values.device)

    return Shard(
        local(active),
        local(start),
        lambda: safe_get_local_fp32_param(parameter),
        lambda new: safe_set_local_fp32_param(parameter, new),
    )


def whole_values(parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    """Returns name -> whole matrix, float32 on the CPU; every process must call this."""
    return {name: _whole(parameter).detach().cpu() for name, parameter in parameters.items()}


def _whole(parameter: torch.nn.Parameter) -> torch.Tensor:
    if isinstance(parameter, DTensor):
        return parameter.full_tensor()
    if hasattr(parameter, "ds_id") or hasattr(parameter, "_hp_mapping"):
        from deepspeed.utils import safe_get_full_fp32_param

        return safe_get_full_fp32_param(parameter)
    return parameter
