"""What `partition` counts and measures."""

from dataclasses import dataclass
from typing import NotRequired, TypedDict

Regions = dict[str, int]
"""Name of a region -> number of elements."""


class RegionRow(TypedDict):
    """Elements of one part of the adapter."""

    elements: int
    regions: Regions
    active_sft: int
    active_rl: int


class KindRow(RegionRow):
    """A kind of target module and one of its two matrices, over all layers."""

    module: str
    matrix: str


class LayerRow(RegionRow):
    """One layer, all modules."""

    layer: str


class PartitionCounts(RegionRow):
    """The whole adapter, and the same by kind and by layer."""

    by_kind: list[KindRow]
    by_layer: list[LayerRow]


class PartitionMetrics(TypedDict):
    """Shares of all elements, and how much the two top sets have in common."""

    jaccard: float
    share_active_sft: float
    share_active_rl: float
    share_selected: float
    theta_of_budget: NotRequired[float]


@dataclass(frozen=True)
class PartitionRecord:
    """What `partition` counts and measures."""

    counts: PartitionCounts
    metrics: PartitionMetrics
