"""`mask.safetensors`: one byte of flags per element, read as the active elements of a stage."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Flag
from lorapar_cli.store.tensor_files import Tensors, layout_fingerprint, read_tensors

_ALL_FLAGS = int(Flag.TOP1 | Flag.TOP2 | Flag.SFT | Flag.RL)


def read_mask(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Returns name -> uint8 flags `[rows, columns]`, and the header's metadata.

    Raises:
        LoraparError: The file is not a mask, or its tensors do not match its fingerprint.
    """
    flags, metadata = read_tensors(path)
    if not flags or any(tensor.dtype != np.uint8 for tensor in flags.values()):
        raise LoraparError(
            f"`{path}` is not a mask",
            "a mask contains one uint8 tensor per LoRA matrix",
            "masks come from `lorapar partition`",
        )
    for name, tensor in flags.items():
        if tensor.size and (largest := int(tensor.max())) > _ALL_FLAGS:
            raise LoraparError(
                f"`{path}` is not a mask",
                f"`{name}` has the value {largest}, flags go up to {_ALL_FLAGS}",
                "run `lorapar partition` again",
            )
    found = layout_fingerprint({name: tensor.shape for name, tensor in flags.items()})
    if metadata.get("fingerprint") != found:
        raise LoraparError(
            f"`{path}` is damaged",
            f"header fingerprint {metadata.get('fingerprint')}, tensors {found}",
            "run `lorapar partition` again",
        )
    return flags, metadata


def active_elements(flags: Tensors, flag: Flag) -> Tensors:
    """Returns name -> bool array, True where `flag` is set."""
    return {name: (tensor & np.uint8(flag)) != 0 for name, tensor in flags.items()}


def require_same_layout(
    mask_path: Path, mask: Tensors, adapter_path: Path, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Checks that a mask was made for this adapter.

    Args:
        shapes: Name -> shape of the adapter's tensors.

    Raises:
        LoraparError: Names or shapes differ; the message names the first difference.
    """
    mask_shapes = {name: tuple(tensor.shape) for name, tensor in mask.items()}
    if layout_fingerprint(mask_shapes) == layout_fingerprint(shapes):
        return
    for name in sorted(mask_shapes.keys() | shapes.keys()):
        if mask_shapes.get(name) != shapes.get(name):
            break
    raise LoraparError(
        "mask does not belong to this adapter",
        f"`{name}` is {mask_shapes.get(name, 'missing')} in `{mask_path}`,\n"
        f"{shapes.get(name, 'missing')} in `{adapter_path}`",
        "run `lorapar partition` again on the importance of this adapter",
    )
