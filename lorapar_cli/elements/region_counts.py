"""Sizes of regions and active sets, counted from the flags of a mask; numpy only."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lorapar_cli.elements.matrix_names import MatrixPlace, layer_label, matrix_place
from lorapar_cli.names import Flag, Region
from lorapar_cli.stage_records.partition import PartitionCounts, PartitionMetrics, RegionRow

KINDS_OF_FLAGS = 16


def count_row(counted: np.ndarray) -> RegionRow:
    """Returns the numbers of elements, of elements by region, and of active ones.

    Args:
        counted: Number of elements with each combination of flags, int64 `[16]`.
    """
    flags = np.arange(KINDS_OF_FLAGS)
    return {
        "elements": int(counted.sum()),
        "regions": {
            region.value: int(counted[place::4].sum()) for place, region in enumerate(Region)
        },
        "active_sft": int(counted[(flags & Flag.SFT) > 0].sum()),
        "active_rl": int(counted[(flags & Flag.RL) > 0].sum()),
    }


def count_mask(mask: Mapping[str, np.ndarray]) -> PartitionCounts:
    """Returns the counts of a mask: overall, by kind of module and matrix, and by layer."""
    by_name = {
        name: np.bincount(flags.reshape(-1), minlength=KINDS_OF_FLAGS)
        for name, flags in mask.items()
    }
    whole = np.sum(list(by_name.values()), axis=0)
    return {
        **count_row(whole),
        "by_kind": [
            {"module": kind, "matrix": side, **count_row(counted)}
            for (kind, side), counted in _add_up(by_name, lambda p: (p.module, p.matrix))
        ],
        "by_layer": [
            {"layer": layer_label(layer), **count_row(counted)}
            for layer, counted in _add_up(by_name, lambda p: p.layer)
        ],
    }


def _add_up(
    by_name: dict[str, np.ndarray], part: Callable[[MatrixPlace], Any]
) -> list[tuple[Any, np.ndarray]]:
    """Returns the counts summed over matrices with an equal part of their place, by that part."""
    groups: dict[Any, np.ndarray] = {}
    for name, counted in by_name.items():
        key = part(matrix_place(name))
        groups[key] = groups.get(key, 0) + counted
    return sorted(groups.items(), key=lambda item: item[0])


def region_shares(counts: RegionRow) -> PartitionMetrics:
    """Returns the Jaccard index of the top sets, and the shares of active and selected elements."""
    elements, regions = counts["elements"], counts["regions"]
    union = elements - regions[Region.UNSELECTED]
    return {
        "jaccard": regions[Region.SHARED] / union,
        "share_active_sft": counts["active_sft"] / elements,
        "share_active_rl": counts["active_rl"] / elements,
        "share_selected": union / elements,
    }
