"""Adapters whose init takes something out of the base weights, without touching the base.

PiSSA and OLoRA train B A on the base weights less B0 A0, the values they start from. The same
function is one rank-2r adapter on the unmodified base, `[B, -B0] [A; A0]`, of which the second
half stays as it is. The first half is the raw adapter: what is scored, masked and trained.
"""

from typing import Any

import numpy as np


def trained_half(name: str, matrix: Any, r: int) -> Any:
    """Returns the raw adapter's part of a rank-2r matrix, as a view (array or tensor).

    Args:
        name: The matrix's key, which says whether it is A `[2r, in]` or B `[out, 2r]`.
        matrix: The matrix, or gradients of it with leading dimensions.
        r: Rank of the raw adapter.
    """
    return matrix[..., :r, :] if ".lora_A" in name else matrix[..., :r]


def widen_mask(name: str, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a raw matrix's mask in the shape of the rank-2r matrix, its second half frozen."""
    widened = np.zeros(shape, mask.dtype)
    rank = mask.shape[0] if ".lora_A" in name else mask.shape[1]
    trained_half(name, widened, rank)[...] = mask
    return widened
