"""Flags and region sizes against the definition, element by element."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lorapar_cli.elements.regions import mark_active, mark_top, sweep
from lorapar_cli.elements.top_sets import Ranking
from lorapar_cli.names import Flag, Region
from tests.elements.exact_sets import IMPORTANCE, THETA, cut_by_share, in_pieces, sorted_top


def flags_of(first, second, theta, alpha=1.0, beta=1.0) -> np.ndarray:
    flags = np.zeros(len(first), np.uint8)
    pieces = np.array_split(flags, 3)
    systems = (
        (in_pieces(first), alpha, Flag.TOP1, Flag.SFT),
        (in_pieces(second), beta, Flag.TOP2, Flag.RL),
    )
    for keys, _, top, _ in systems:
        mark_top(pieces, keys, cut_by_share(keys, theta), top)
    for keys, share, top, active in systems:
        mark_active(pieces, keys, share, top, active)
    return flags


@settings(max_examples=200, deadline=None)
@given(st.data(), THETA, st.floats(0, 1), st.floats(0, 1))
def test_flags_equal_the_definition(data, theta, alpha, beta):
    first = data.draw(IMPORTANCE)
    second = data.draw(hnp.arrays(np.float32, len(first), elements=st.floats(0, 9, width=32)))
    top1, top2 = sorted_top(first, theta), sorted_top(second, theta)
    shared = np.flatnonzero(top1 & top2)

    def best(values, share):
        ranked = sorted(shared, key=lambda i: (-values[i], i))
        chosen = np.zeros(len(values), bool)
        chosen[ranked[: int(Fraction(repr(share)) * len(shared))]] = True
        return chosen

    flags = flags_of(first, second, theta, alpha, beta)
    assert ((flags & Flag.TOP1 > 0) == top1).all()
    assert ((flags & Flag.TOP2 > 0) == top2).all()
    assert ((flags & Flag.SFT > 0) == ((top1 & ~top2) | best(first, alpha))).all()
    assert ((flags & Flag.RL > 0) == ((top2 & ~top1) | best(second, beta))).all()


def test_alpha_and_beta_one_activate_each_systems_whole_top_set():
    draw = np.random.default_rng(1)
    first, second = draw.random((2, 500), np.float32)
    flags = flags_of(first, second, 0.6)
    assert ((flags & Flag.SFT > 0) == (flags & Flag.TOP1 > 0)).all()
    assert ((flags & Flag.RL > 0) == (flags & Flag.TOP2 > 0)).all()


@settings(max_examples=100, deadline=None)
@given(st.data(), st.lists(THETA, min_size=1, max_size=4))
def test_a_sweep_counts_the_regions_of_each_pair_of_cuts(data, thetas):
    first = data.draw(IMPORTANCE)
    second = data.draw(hnp.arrays(np.float32, len(first), elements=st.floats(0, 9, width=32)))
    keys1, keys2 = in_pieces(first), in_pieces(second)
    thetas = sorted(thetas)
    cuts1, cuts2 = (Ranking(keys).by_share(thetas) for keys in (keys1, keys2))
    rows = sweep(keys1, keys2, cuts1, cuts2)
    assert len(rows) == len(thetas)
    for row, theta in zip(rows, thetas, strict=True):
        top1, top2 = sorted_top(first, theta), sorted_top(second, theta)
        assert row == {
            Region.S1_ONLY: (top1 & ~top2).sum(),
            Region.S2_ONLY: (top2 & ~top1).sum(),
            Region.SHARED: (top1 & top2).sum(),
            Region.UNSELECTED: (~top1 & ~top2).sum(),
        }


@pytest.mark.parametrize(("share", "active"), [(0, 0), (1, 4), (0.5, 2), (0.74, 2), (0.75, 3)])
def test_a_share_of_the_shared_elements_is_rounded_down(share, active):
    ones = np.ones(4, np.float32)
    flags = flags_of(ones, ones, 1.0, alpha=share, beta=1.0)
    assert np.flatnonzero(flags & Flag.SFT).tolist() == list(range(active))
    assert (flags & Flag.RL > 0).all()
