"""An adapter with its mask: read, loaded, saved, and verified after training."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel

from lorapar_cli.elements.rank_doubling import widen_mask
from lorapar_cli.errors import Diverged, LoraparError
from lorapar_cli.models.adapter import (
    adapter_parameters,
    load_adapter,
    read_lora_config,
    save_adapter,
    save_raw_adapter,
)
from lorapar_cli.models.base_model import BaseModel, load_base
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.models.placement.loading import load_placed
from lorapar_cli.models.placement.placement import Placement
from lorapar_cli.names import ADAPTER_WEIGHTS, Artifact, Attention, Flag
from lorapar_cli.store.mask_file import active_elements, read_mask, require_same_layout
from lorapar_cli.store.tensor_files import read_shapes, read_tensors
from lorapar_cli.training.masking.active_elements import count_moved
from lorapar_cli.training.masking.sharded_masking import whole_values


@dataclasses.dataclass(frozen=True)
class MaskedAdapter:
    """An adapter on disk and the elements of it that a stage trains.

    Attributes:
        folder: The PEFT folder.
        weights: Name -> tensor as stored, float32.
        active: Name -> bool tensor of the same shape, True = active in the stage.
        shapes: Name -> shape in the mask. Where the init would have changed the base model these
            are those of the raw rank-r part, else of the weights (`elements.rank_doubling`).
        raw_rank: Rank of that part; None where all of the adapter may train.
    """

    folder: Path
    weights: dict[str, torch.Tensor]
    active: dict[str, torch.Tensor]
    shapes: dict[str, tuple[int, ...]]
    raw_rank: int | None

    @property
    def active_count(self) -> int:
        """Number of active elements."""
        return sum(int(tensor.sum()) for tensor in self.active.values())

    @property
    def element_count(self) -> int:
        """Number of elements that the mask covers."""
        return sum(math.prod(shape) for shape in self.shapes.values())


@dataclasses.dataclass(frozen=True)
class MaskedModel:
    """A model whose adapter is to be trained, with what the adapter started from."""

    model: PeftModel
    start: MaskedAdapter


def read_masked_adapter(folder: Path, mask_path: Path | None, flag: Flag) -> MaskedAdapter:
    """Returns an adapter and its active elements, checked to belong together.

    Needs no model, so that a wrong pair fails before one is loaded. Without a mask every element
    is active.

    Raises:
        LoraparError: Mask and adapter do not belong together, no element is active, or the folder
            of the raw part does not hold a LoRA adapter.
    """
    read_lora_config(folder)
    raw = _raw_folder(folder)
    raw_rank = read_lora_config(raw).r if raw else None
    shapes = read_shapes((raw or folder) / ADAPTER_WEIGHTS)
    if mask_path is None:
        active = {name: np.ones(shape, bool) for name, shape in shapes.items()}
    else:
        flags, _ = read_mask(mask_path)
        require_same_layout(mask_path, flags, raw or folder, shapes)
        active = active_elements(flags, flag)
    if not any(tensor.any() for tensor in active.values()):
        raise LoraparError(
            f"no element is active in `{'train-sft' if flag is Flag.SFT else 'train-rl'}`",
            f"`{mask_path}` sets the flag of this stage for no element",
            "run `lorapar partition` with a larger `--theta`, `--alpha` or `--beta`",
        )
    arrays, _ = read_tensors(folder / ADAPTER_WEIGHTS)
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise LoraparError(
                f"adapter `{folder}` has tensors that are no weights",
                f"`{name}` has the type {array.dtype}",
                "use an adapter that PEFT wrote",
            )
    if raw_rank is not None:
        active = {name: widen_mask(name, m, arrays[name].shape) for name, m in active.items()}
    return MaskedAdapter(
        folder,
        # The model holds an adapter in float32, whatever its file does.
        {name: torch.from_numpy(array).float() for name, array in arrays.items()},
        {name: torch.from_numpy(mask) for name, mask in active.items()},
        shapes,
        raw_rank,
    )


def _raw_folder(folder: Path) -> Path | None:
    raw = folder.with_name(f"{folder.name}-raw")
    return raw if raw.is_dir() else None


def load_masked_model(
    base: BaseModel,
    start: MaskedAdapter,
    *,
    dtype: str,
    quantize: str | None,
    dropout: float,
    trust: bool,
    engine: Engine,
    attention: Attention | None = None,
    device_map: bool = False,
) -> MaskedModel:
    """Returns base and adapter, ready for a masked trainer.

    They are on this process's device, distributed over all GPUs with `device_map`, or on the CPU if
    the engine divides them first.

    Raises:
        LoraparError: The base model cannot be loaded, or does not fit on the GPUs.
    """
    if engine.divides_parameters:
        loaded = load_base(base, dtype, trust, quantize, keep_on_cpu=True, attention=attention)
    else:
        place = Placement(device_map=device_map)
        loaded = load_placed(base, place, dtype, trust, quantize, attention)
    model = load_adapter(loaded, start.folder, trainable=True, dropout=dropout)
    for name, parameter in adapter_parameters(model).items():
        if not torch.equal(parameter.detach().cpu(), start.weights[name]):
            raise AssertionError(f"{name} was not loaded as stored")
    return MaskedModel(model, start)


def whole_adapter(masked: MaskedModel) -> dict[str, torch.Tensor]:
    """Returns name -> trained matrix, whole, float32 on the CPU; every process must call this."""
    return whole_values(adapter_parameters(masked.model))


def save_masked(masked: MaskedModel, values: dict[str, torch.Tensor], folder: Path) -> None:
    """Writes the trained adapter, and its raw part next to it where the next stage needs it.

    Args:
        values: Of `whole_adapter`.
    """
    save_adapter(masked.model, folder / Artifact.ADAPTER, values)
    if masked.start.raw_rank is not None:
        save_raw_adapter(masked.model, masked.start.raw_rank, folder / Artifact.RAW_ADAPTER, values)


def verify_trained(start: MaskedAdapter, after: dict[str, torch.Tensor]) -> tuple[int, int]:
    """Returns how many active elements moved and how many frozen ones did, which is 0.

    Args:
        after: Of `whole_adapter`.

    Raises:
        Diverged: A trained value is not finite.
        LoraparError: Nothing moved.
        AssertionError: A frozen element moved: a defect of lorapar, never of the input.
    """
    if bad := [name for name, tensor in after.items() if not torch.isfinite(tensor).all()]:
        raise Diverged(f"training made `{bad[0]}` infinite or NaN", hint="lower `--learning-rate`")
    active, frozen = count_moved(start.weights, after, start.active)
    if frozen:
        raise AssertionError(f"{frozen} frozen elements moved during training")
    if not active:
        raise LoraparError(
            "training changed no element of the adapter",
            "every active element is bit-identical to its start",
            "raise `--learning-rate` or the number of steps; in `train-rl`, also check that rewards "
            "differ between the completions of a prompt",
        )
    return active, frozen
