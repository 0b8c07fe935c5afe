"""The ladder of learning rates: what is tried, what is chosen, what counts as noise."""

import math
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lorapar_cli.training.recipes.rate_search import (
    HIGHEST,
    LOWEST,
    choose_rung,
    is_worse,
    next_rung,
    paired,
    rate_of,
)

ITEMS = np.linspace(-1, 1, 16)


def climb(curve, limit=30) -> dict:
    """Tries rungs until the search is over; `curve` gives a mean, or None where training diverges."""
    tried = {}
    while (rung := next_rung(tried)) is not None:
        assert rung not in tried
        assert LOWEST - 1 <= rung <= HIGHEST + 1
        mean = curve(rung)
        # Items differ much more among one another than between rates.
        tried[rung] = None if mean is None else list(mean + ITEMS + 0.001 * np.cos(rung * ITEMS))
        assert len(tried) < limit
    return tried


def test_rungs_are_half_decades():
    assert [rate_of(2e-4, rung) for rung in (-2, -1, 0, 1, 2)] == [
        *(2e-05, 6.32e-05, 2e-4, 6.32e-4, 2e-3)
    ]


@pytest.mark.parametrize("best", range(-4, 9))
def test_the_bottom_of_a_valley_is_found_to_half_a_decade(best):
    tried = climb(lambda rung: 0.1 * abs(rung - best))
    assert choose_rung(tried, list(5 + ITEMS)) == best
    # Decades up to the first that is worse, or down, and two half decades.
    assert len(tried) <= 5 + (abs(best) + 1) // 2


def test_above_the_edge_of_divergence_nothing_is_tried():
    tried = climb(lambda rung: None if rung > 3 else -rung)
    assert sorted(tried) == [0, 1, 2, 3, 4]
    assert tried[4] is None
    assert choose_rung(tried, list(ITEMS)) == 3


def test_where_the_start_diverges_lower_rates_are_tried():
    tried = climb(lambda rung: None if rung > -3 else abs(rung + 4))
    assert choose_rung(tried, list(9 + ITEMS)) == -4


def test_everything_may_diverge():
    tried = climb(lambda rung: None)
    assert min(tried) == LOWEST - 1
    assert choose_rung(tried, list(ITEMS)) is None


def test_rates_that_change_nothing_are_passed():
    """In RL small rates leave rewards as they are: the search must not end on a plateau."""
    tried = climb(lambda rung: 0 if rung < 6 else -1 + 0.3 * abs(rung - 7))
    assert choose_rung(tried, list(ITEMS)) == 7


def test_what_does_not_help_beyond_its_noise_is_not_chosen():
    noise = np.array([0.3, -0.3] * 8)
    tried = {0: list(ITEMS - 0.05 + noise), 1: list(ITEMS + 1)}
    assert choose_rung(tried, list(ITEMS)) is None
    tried[0] = list(ITEMS - 0.5 + noise)
    assert choose_rung(tried, list(ITEMS)) == 0


def test_of_equals_the_one_above_is_chosen_and_none_further_up():
    noise = np.array([0.1, -0.1] * 8)
    tried = {0: list(ITEMS - 1), 1: list(ITEMS - 0.99 + noise), 2: list(ITEMS - 0.99 + noise)}
    assert choose_rung(tried, list(ITEMS + 1)) == 1
    assert choose_rung(tried | {1: list(ITEMS - 0.9)}, list(ITEMS + 1)) == 0
    assert choose_rung(tried | {1: None}, list(ITEMS + 1)) == 0
    assert choose_rung({0: list(ITEMS - 1)}, list(ITEMS + 1)) == 0


@given(
    st.lists(
        st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=2, max_size=30, unique=True
    )
)
def test_paired_differences_agree_with_scipy(pairs):
    one, two = zip(*pairs, strict=True)
    difference, error = paired(one, two)
    assert difference == pytest.approx(fmean(np.subtract(one, two)), abs=1e-9)
    assert error == pytest.approx(stats.sem(np.subtract(one, two)), abs=1e-9)


def test_one_pair_says_nothing():
    assert paired([1.0], [0.0]) == (1.0, math.inf)
    assert not is_worse([1.0], [0.0])
    assert is_worse(None, [0.0])
    assert not is_worse([9.0], None)
    assert not is_worse(None, None)
