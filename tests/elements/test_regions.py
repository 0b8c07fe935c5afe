"""The cut and the regions against a sort that follows the definition element by element."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lorapar_cli.elements.regions import Partition, shared_cut
from lorapar_cli.elements.top_sets import NOTHING, Ranking, TopSetMask, importance_keys
from lorapar_cli.names import Flag

IMPORTANCE = hnp.arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.one_of(
        st.sampled_from([0.0, 1.0, 0.1, 2.0, 1e-45, 1e-40, 3e38]),
        st.floats(0, float(np.float32(1e30)), width=32),
    ),
)
THETA = st.one_of(st.sampled_from([0.1, 0.5, 0.9, 1.0]), st.floats(0.001, 1.0))


def sorted_top(values: np.ndarray, theta: float) -> np.ndarray:
    """The definition, in exact arithmetic: sort, then the smallest prefix that reaches theta."""
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    exact = [Fraction(float(value)) for value in values]
    target = Fraction(repr(theta)) * sum(exact)
    chosen = np.zeros(len(values), bool)
    reached = Fraction(0)
    for index in order:
        if reached >= target:
            break
        chosen[index] = True
        reached += exact[index]
    return chosen


def cut_by_share(keys, theta):
    return Ranking(keys).by_share([theta])[0]


def in_pieces(values: np.ndarray, pieces: int = 3):
    """The vector as several tensors, as an adapter has them."""
    return lambda: [importance_keys(part) for part in np.array_split(values, pieces)]


def pick(values: np.ndarray, cut) -> np.ndarray:
    picker = TopSetMask(cut)
    return np.concatenate([picker.pick(keys) for keys in in_pieces(values)()])


def flags_of(first, second, theta, alpha=1.0, beta=1.0) -> np.ndarray:
    keys1, keys2 = in_pieces(first), in_pieces(second)
    cut1, cut2 = cut_by_share(keys1, theta), cut_by_share(keys2, theta)
    parts = Partition(
        cut1,
        cut2,
        shared_cut(keys1, keys2, cut1, cut2, alpha, 1),
        shared_cut(keys1, keys2, cut1, cut2, beta, 2),
    )
    return np.concatenate([parts.flags(a, b) for a, b in zip(keys1(), keys2(), strict=True)])


@settings(max_examples=300, deadline=None)
@given(IMPORTANCE, THETA)
def test_cut_equals_the_sort(values, theta):
    cut = cut_by_share(in_pieces(values), theta)
    expected = sorted_top(values, theta)
    assert (pick(values, cut) == expected).all()
    assert cut.size == expected.sum()


def test_cut_equals_a_float64_cumulative_sum():
    values = np.random.default_rng(0).lognormal(0, 3, 20_000).astype(np.float32)
    order = np.argsort(-values, kind="stable")
    reached = np.cumsum(values[order], dtype=np.float64)
    for theta in (0.01, 0.3, 0.5, 0.9, 0.999):
        size = int(np.searchsorted(reached, theta * reached[-1])) + 1
        expected = np.zeros(len(values), bool)
        expected[order[:size]] = True
        assert (pick(values, cut_by_share(in_pieces(values), theta)) == expected).all()


@settings(max_examples=200, deadline=None)
@given(IMPORTANCE, THETA, THETA)
def test_a_larger_theta_contains_the_smaller_ones_set(values, one, other):
    small, large = sorted((one, other))
    inner = pick(values, cut_by_share(in_pieces(values), small))
    outer = pick(values, cut_by_share(in_pieces(values), large))
    assert not (inner & ~outer).any()


@settings(max_examples=200, deadline=None)
@given(IMPORTANCE, st.floats(0, 1))
def test_cut_by_count_equals_the_sort(values, share):
    count = int(share * len(values))
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    expected = np.zeros(len(values), bool)
    expected[order[:count]] = True
    assert (pick(values, Ranking(in_pieces(values)).by_count(count)) == expected).all()


@pytest.mark.parametrize("theta", [0.1, 0.3, 0.6, 0.7, 0.9, 1.0])
def test_theta_is_the_decimal_that_was_written(theta):
    cut = cut_by_share(in_pieces(np.full(10, 0.1, np.float32)), theta)
    assert cut.size == round(theta * 10)
    assert pick(np.full(10, 0.1, np.float32), cut).tolist() == [i < cut.size for i in range(10)]


def test_all_zero_selects_nothing_and_theta_one_everything_above_zero():
    assert cut_by_share(in_pieces(np.zeros(5, np.float32)), 0.9) == NOTHING
    values = np.array([0, 1e-45, 0, 3e38, 1e-30], np.float32)
    assert pick(values, cut_by_share(in_pieces(values), 1.0)).tolist() == [0, 1, 0, 1, 1]


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


@pytest.mark.parametrize(
    ("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-1.0, "negative"), (-np.inf, "inf")]
)
def test_what_cannot_be_ranked_is_named(value, word):
    with pytest.raises(ValueError, match=f"1 of 3 values are {word}"):
        importance_keys(np.array([1, value, 2], np.float32))


def test_a_negative_zero_is_zero():
    assert importance_keys(np.array([-0.0, 0.0], np.float32)).tolist() == [0, 0]
