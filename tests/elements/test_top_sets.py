"""Cuts against a sort that follows the definition element by element."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorapar_cli.elements.top_sets import (
    NOTHING,
    Ranking,
    as_fraction,
    importance_keys,
    random_keys,
)
from tests.elements.exact_sets import (
    IMPORTANCE,
    THETA,
    cut_by_share,
    in_pieces,
    pick,
    ranked,
    sorted_top,
)


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
    expected = np.zeros(len(values), bool)
    expected[ranked(values)[:count]] = True
    assert (pick(values, Ranking(in_pieces(values)).by_count(count)) == expected).all()


@settings(max_examples=100, deadline=None)
@given(IMPORTANCE, THETA)
def test_a_fraction_of_the_elements_is_rounded_down(values, share):
    cut = Ranking(in_pieces(values), sums=False).by_fraction(share)
    assert cut.size == int(Fraction(repr(share)) * len(values))
    assert pick(values, cut).sum() == cut.size


@settings(max_examples=100, deadline=None)
@given(IMPORTANCE)
def test_totals_bins_and_curve_are_exact(values):
    ranking = Ranking(in_pieces(values))
    exact = sorted((Fraction(float(value)) for value in values), reverse=True)
    assert ranking.elements == len(values)
    assert ranking.exact_total == sum(exact) * 2**149
    assert ranking.total == pytest.approx(float(sum(exact)))
    taken = 0
    for high, count, weight in ranking.bins():
        assert weight == sum(exact[taken : taken + count]) * 2**149
        own = importance_keys(
            np.array([float(v) for v in exact[taken : taken + count]], np.float32)
        )
        assert set((own >> 16).tolist()) == {high}
        taken += count
    assert taken == len(values)
    if ranking.exact_total:
        shares, reached = ranking.curve()
        counts = np.round(shares * len(values)).astype(int).tolist()
        assert counts[-1] == len(values)
        for count, share in zip(counts, reached, strict=True):
            assert share == pytest.approx(float(sum(exact[:count]) / sum(exact)))


@pytest.mark.parametrize("values", [[1.0, 1.001, 3.0], [1e-45, 1e-40, 2e-42], [3e38, 2.9e38, 1.0]])
def test_shares_of_keys_are_those_of_the_values(values):
    vector = np.array(values, np.float32)
    ranking = Ranking(in_pieces(vector))
    for key, value in zip(importance_keys(vector).tolist(), vector.tolist(), strict=True):
        found = ranking.shares_of_keys(key >> 16)[key & 0xFFFF]
        assert found == pytest.approx(float(Fraction(value) / sum(map(Fraction, vector.tolist()))))


@pytest.mark.parametrize("theta", [0.1, 0.3, 0.6, 0.7, 0.9, 1.0])
def test_theta_is_the_decimal_that_was_written(theta):
    cut = cut_by_share(in_pieces(np.full(10, 0.1, np.float32)), theta)
    assert cut.size == round(theta * 10)
    assert pick(np.full(10, 0.1, np.float32), cut).tolist() == [i < cut.size for i in range(10)]


def test_all_zero_selects_nothing_and_theta_one_everything_above_zero():
    assert cut_by_share(in_pieces(np.zeros(5, np.float32)), 0.9) == NOTHING
    values = np.array([0, 1e-45, 0, 3e38, 1e-30], np.float32)
    assert pick(values, cut_by_share(in_pieces(values), 1.0)).tolist() == [0, 1, 0, 1, 1]


@pytest.mark.parametrize(
    ("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-1.0, "negative"), (-np.inf, "inf")]
)
def test_what_cannot_be_ranked_is_named(value, word):
    with pytest.raises(ValueError, match=f"1 of 3 values is {word}"):
        importance_keys(np.array([1, value, 2], np.float32))


def test_a_negative_zero_is_zero():
    assert importance_keys(np.array([-0.0, 0.0], np.float32)).tolist() == [0, 0]


def test_a_share_is_the_decimal_as_written():
    assert as_fraction(0.9) == Fraction(9, 10)
    assert as_fraction(1e-07) == Fraction(1, 10**7)


def test_random_keys_depend_on_seed_system_and_name_but_not_on_order():
    sizes = [("a", 5), ("b", 1000), ("c", 0)]
    drawn = dict(zip("abc", random_keys(sizes, 7, "system1")(), strict=True))
    again = dict(zip("cba", random_keys(sizes[::-1], 7, "system1")(), strict=True))
    for name, size in sizes:
        assert drawn[name].dtype == np.uint32
        assert drawn[name].shape == (size,)
        assert (drawn[name] == again[name]).all()
    for other in (random_keys(sizes, 8, "system1"), random_keys(sizes, 7, "system2")):
        assert not (list(other())[1] == drawn["b"]).any()
    assert not set(drawn["a"].tolist()) & set(drawn["b"].tolist())


def test_random_keys_are_uniform():
    (keys,) = random_keys([("a", 100_000)], 0, "system1")()
    counts = np.bincount(keys >> np.uint32(28), minlength=16)
    # Six standard deviations of a binomial count.
    assert np.abs(counts - 6250).max() < 6 * np.sqrt(6250 * 15 / 16)
