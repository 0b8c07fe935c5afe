"""Sizes of regions and active sets against counting element by element."""

import numpy as np
import pytest

from lorapar_cli.elements.region_counts import (
    KINDS_OF_FLAGS,
    count_mask,
    count_row,
    region_shares,
)
from lorapar_cli.names import Flag, Region

NAMES = [
    f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{side}.weight"
    for layer in (0, 1, 10)
    for module in ("q_proj", "v_proj")
    for side in "AB"
]


@pytest.fixture
def mask():
    draw = np.random.default_rng(0)
    return {name: draw.integers(0, KINDS_OF_FLAGS, (4, 9), dtype=np.uint8) for name in NAMES}


def naive_row(arrays):
    """Returns the row of some arrays of flags, one element at a time."""
    row = {"elements": 0, "regions": dict.fromkeys(Region, 0), "active_sft": 0, "active_rl": 0}
    for flags in (int(one) for array in arrays for one in array.flat):
        selected = bool(flags & Flag.TOP1), bool(flags & Flag.TOP2)
        region = {
            (False, False): Region.UNSELECTED,
            (True, False): Region.S1_ONLY,
            (False, True): Region.S2_ONLY,
            (True, True): Region.SHARED,
        }[selected]
        row["elements"] += 1
        row["regions"][region] += 1
        row["active_sft"] += bool(flags & Flag.SFT)
        row["active_rl"] += bool(flags & Flag.RL)
    return row


def test_a_row_counts_each_flag_and_region():
    flags = np.arange(KINDS_OF_FLAGS, dtype=np.uint8)
    assert count_row(np.bincount(flags, minlength=KINDS_OF_FLAGS)) == naive_row([flags])


def test_a_mask_is_counted_as_a_whole_by_kind_and_by_layer(mask):
    counts = count_mask(mask)
    whole = {key: counts[key] for key in ("elements", "regions", "active_sft", "active_rl")}
    assert whole == naive_row(mask.values())
    assert counts["by_kind"] == [
        {"module": module, "matrix": side}
        | naive_row(flags for name, flags in mask.items() if f"{module}.lora_{side}" in name)
        for module in ("q_proj", "v_proj")
        for side in "AB"
    ]
    assert counts["by_layer"] == [
        {"layer": str(layer)}
        | naive_row(flags for name, flags in mask.items() if f"layers.{layer}." in name)
        for layer in (0, 1, 10)
    ]


def test_shares_are_of_all_elements_and_jaccard_is_of_the_selected_ones():
    counts = {
        "elements": 100,
        "regions": {"unselected": 60, "s1_only": 10, "s2_only": 20, "shared": 10},
        "active_sft": 15,
        "active_rl": 25,
    }
    assert region_shares(counts) == {
        "jaccard": 0.25,
        "share_active_sft": 0.15,
        "share_active_rl": 0.25,
        "share_selected": 0.4,
    }
