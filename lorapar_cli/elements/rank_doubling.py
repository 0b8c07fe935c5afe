"""Adapters whose init subtracts from the base weights, expressed on an unmodified base.

PiSSA and OLoRA train B A on the base weights minus B0 A0, their initial product. A rank-2r adapter
on the unmodified base computes the same function: `[B, -B0] [A; A0]`, with the second half frozen.
The first half is the raw adapter: what is scored, masked and trained.
"""

from typing import Any

import numpy as np


def trained_half(name: str, matrix: Any, r: int) -> Any:
    """Returns the raw adapter's part of a rank-2r matrix, as a view of the array or tensor.

    Args:
        name: Key of the matrix, which tells A `[2r, in]` from B `[out, 2r]`.
        matrix: The matrix, or its gradients with leading dimensions.
        r: Rank of the raw adapter.
    """
    return matrix[..., :r, :] if ".lora_A" in name else matrix[..., :r]


def widen_mask(name: str, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the mask of a rank-2r matrix from that of its raw half; the second half is frozen.

    Args:
        mask: `[r, in]` or `[out, r]`, nonzero or True = active.
        shape: Of the rank-2r matrix.
    """
    widened = np.zeros(shape, mask.dtype)
    rank = mask.shape[0] if ".lora_A" in name else mask.shape[1]
    trained_half(name, widened, rank)[...] = mask
    return widened
