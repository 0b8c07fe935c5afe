"""Training active elements of matrices that FSDP2 or DeepSpeed divides between processes.

Differs: the optimizer owns whole matrices, so that its state exists for frozen elements too; in one
process and under DDP it owns vectors of active elements (`training.masking.active_elements`).
"""

from collections.abc import Mapping

import torch
from torch.distributed.tensor import DTensor, distribute_tensor

from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.training.masking.dense_masking import (
    Shard,
    mask_in_backward,
    restore_frozen,
    zero_frozen,
)
from lorapar_cli.training.masking.trained_elements import TrainedElements


class ShardedElements(TrainedElements):
    """The active elements of matrices that an engine divides, as the divided matrices.

    `find_shards` must be called before the first step: until then this process does not know its
    part of any matrix, and `scatter` writes nothing.

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
            # accelerate runs DeepSpeed's step within `backward`: masking afterwards would be too late.
            for name, parameter in parameters.items():
                mask_in_backward(parameter, active[name])

    @property
    def values(self) -> list[torch.nn.Parameter]:
        """The matrices: whole before `find_shards`, then as the engine divided them."""
        return self._values

    @torch.no_grad()
    def find_shards(self, parameters: Mapping[str, torch.nn.Parameter], fresh: bool) -> None:
        """Takes the parts that this process holds, once the engine has divided the matrices.

        Args:
            parameters: The divided matrices, names as before.
            fresh: Whether training starts here. DeepSpeed then gets the starting values again,
                because it takes its float32 copies from a model that it may have rounded to
                bfloat16.
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

    @torch.no_grad()
    def gather(self) -> None:
        """Masks the gradients; under DeepSpeed hooks have masked them in the backward pass."""
        if self._engine is Engine.FSDP2:
            for parameter, shard in zip(self._values, self._shards, strict=True):
                if parameter.grad is not None:
                    local = _divided(parameter.grad).to_local()
                    local.copy_(zero_frozen(local, shard.active))

    def scatter(self) -> None:
        """Gives frozen elements in this process's parts their values back."""
        restore_frozen(self._shards)

    def _shard(
        self, parameter: torch.nn.Parameter, active: torch.Tensor, start: torch.Tensor
    ) -> Shard | None:
        if self._engine is Engine.FSDP2:
            return _fsdp2_shard(parameter, active, start)
        if self._engine is Engine.ZERO2:
            return _zero2_shard(parameter, active, start)
        return _zero3_shard(parameter, active, start)


def _divided(tensor: torch.Tensor) -> DTensor:
    """Returns the tensor as what FSDP2 makes of the tensors that it divides."""
    if not isinstance(tensor, DTensor):
        raise AssertionError("FSDP2 left a matrix of the adapter whole")
    return tensor


def _fsdp2_shard(parameter: torch.nn.Parameter, active: torch.Tensor, start: torch.Tensor) -> Shard:
    matrix = _divided(parameter)
    device = matrix.to_local().device

    def local(whole: torch.Tensor) -> torch.Tensor:
        # Every process has the whole tensor: without a source rank nothing is sent.
        placed = distribute_tensor(
            whole.to(device), matrix.device_mesh, matrix.placements, src_data_rank=None
        )
        return placed.to_local().clone()

    return Shard(
        local(active),
        local(start),
        matrix.to_local,
        lambda values: matrix.to_local().copy_(values),
    )


def _zero2_shard(
    parameter: torch.nn.Parameter, active: torch.Tensor, start: torch.Tensor
) -> Shard | None:
    """Returns the matrix's part in this process's float32 partition; None where it has none."""
    mapping = parameter._hp_mapping  # type: ignore[attr-defined]  # set by DeepSpeed
    if mapping is None:
        return None
    values, address = mapping.hp_fragment, mapping.lp_fragment_address

    def local(whole: torch.Tensor) -> torch.Tensor:
        part = whole.flatten().narrow(0, address.start, address.numel)
        return part.to(values.device, copy=True)

    return Shard(local(active), local(start), lambda: values, values.copy_)


def _zero3_shard(parameter: torch.nn.Parameter, active: torch.Tensor, start: torch.Tensor) -> Shard:
    """Returns the matrix's part in this process's float32 partition."""
    from deepspeed.utils import safe_get_local_fp32_param, safe_set_local_fp32_param

    values = safe_get_local_fp32_param(parameter)
    group = parameter.ds_process_group  # type: ignore[attr-defined]  # set by DeepSpeed
    rank = torch.distributed.get_rank(group)

    def local(whole: torch.Tensor) -> torch.Tensor:
        return _padded_part(whole, rank, values.numel()).to(values.device)

    return Shard(
        local(active),
        local(start),
        lambda: safe_get_local_fp32_param(parameter),
        lambda new: safe_set_local_fp32_param(parameter, new),
    )


def _padded_part(whole: torch.Tensor, rank: int, size: int) -> torch.Tensor:
    """Returns elements `rank * size` to `(rank + 1) * size` of the flattened tensor, 1-D.

    Where the tensor ends before, zeros (in a mask: frozen elements) fill the part.
    """
    part = whole.flatten()[rank * size : (rank + 1) * size]
    padded = part.new_zeros(size)
    padded[: len(part)] = part
    return padded


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
