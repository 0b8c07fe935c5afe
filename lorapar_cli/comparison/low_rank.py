"""Plain LoRA of a lower rank: about as many elements as a mask selects, without a mask."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lorapar_cli.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Artifact, Flag
from lorapar_cli.store.atomic import atomic_file, new_folder
from lorapar_cli.store.disk.regular_files import read_json
from lorapar_cli.store.tensor_files import (
    Tensors,
    layout_fingerprint,
    read_shapes,
    read_tensors,
    write_tensors,
)

Shapes = Mapping[str, tuple[int, ...]]


def trained_part(adapter: Path) -> Path:
    """Returns the folder of the part of an adapter that trains: the raw one, where there is one."""
    raw = adapter.with_name(f"{adapter.name}-raw")
    return raw if raw.is_dir() else adapter


def elements_per_rank(adapter: Path) -> int:
    """Returns the number of elements that one rank of an adapter has, in all matrices."""
    part = trained_part(adapter)
    elements = sum(math.prod(shape) for shape in read_shapes(part / ADAPTER_WEIGHTS).values())
    return elements // int(read_json(part / ADAPTER_CONFIG)["r"])


def nearest_rank(adapter: Path, elements: int) -> int:
    """Returns the rank, 1 or more, whose number of elements is nearest; the lower one of two."""
    each = elements_per_rank(adapter)
    below = max(1, elements // each)
    return below if elements - below * each <= (below + 1) * each - elements else below + 1


def write_low_rank(adapter: Path, rank: int, seed: int, target: Path) -> None:
    """Writes plain LoRA for the target modules of an adapter.

    A is uniform as in PEFT's default, B is 0. The scaling lora_alpha / r is that of the given
    adapter, as nearly as whole numbers allow.

    Args:
        adapter: Whose target modules and scaling it gets.
        seed: Determines A.
        target: Folder that gets `adapter/`.
    """
    part = trained_part(adapter)
    config = read_json(part / ADAPTER_CONFIG)
    tensors = {
        name: _plain(name, shape, rank, seed)
        for name, shape in read_shapes(part / ADAPTER_WEIGHTS).items()
    }
    lora_alpha = max(1, round(config["lora_alpha"] / config["r"] * rank))
    with new_folder(target) as built:
        _write(built / Artifact.ADAPTER, tensors, config | {"r": rank, "lora_alpha": lora_alpha})


def write_extended(adapter: Path, rank: int, seed: int, target: Path) -> None:
    """Writes an adapter with further ranks of plain LoRA, and the mask that trains these alone.

    The function is that of the given adapter: the new part of B is 0, and where the scaling
    lora_alpha / r cannot be kept in whole numbers the old part of B makes up for it.

    Args:
        adapter: After the stage before.
        seed: Determines the new part of A.
        target: Folder that gets `adapter/` and the mask.
    """
    config = read_json(adapter / ADAPTER_CONFIG)
    old, _ = read_tensors(adapter / ADAPTER_WEIGHTS)
    r = int(config["r"])
    scaling = config["lora_alpha"] / r
    lora_alpha = max(1, round(scaling * (r + rank)))
    kept = scaling / (lora_alpha / (r + rank))
    tensors, flags = {}, {}
    for name, matrix in old.items():
        axis = _rank_axis(name)
        new = _plain(name, matrix.shape, rank, seed)
        same = matrix if axis == 0 or kept == 1 else matrix * np.float32(kept)
        tensors[name] = np.concatenate([same, new], axis)
        flags[name] = np.concatenate(
            [np.zeros(matrix.shape, np.uint8), np.full(new.shape, Flag.RL, np.uint8)], axis
        )
    with new_folder(target) as built:
        changed = config | {"r": r + rank, "lora_alpha": lora_alpha}
        _write(built / Artifact.ADAPTER, tensors, changed)
        fingerprint = layout_fingerprint({name: tensor.shape for name, tensor in flags.items()})
        write_tensors(built / Artifact.MASK, flags, {"fingerprint": fingerprint})


def _rank_axis(name: str) -> int:
    """Returns the axis of a matrix that counts ranks: A is `[r, in]`, B is `[out, r]`."""
    return 0 if ".lora_A" in name else 1


def _plain(name: str, shape: tuple[int, ...], rank: int, seed: int) -> np.ndarray:
    """Returns a matrix of plain LoRA of that rank, float32.

    Args:
        shape: Of the same matrix at another rank.
    """
    if _rank_axis(name) == 1:
        return np.zeros((shape[0], rank), np.float32)
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    bound = 1 / math.sqrt(shape[1])
    draw = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    return draw.uniform(-bound, bound, (rank, shape[1])).astype(np.float32)


def _write(folder: Path, tensors: Tensors, config: dict[str, Any]) -> None:
    write_tensors(folder / ADAPTER_WEIGHTS, tensors, {"format": "pt"})
    with atomic_file(folder / ADAPTER_CONFIG) as file:
        json.dump(config, file, indent=2, sort_keys=True)
