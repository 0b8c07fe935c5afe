"""The ladder of learning rates."""

import math

import pytest

from lorapar_cli.comparison.planning.search import best_rung, next_rungs, rate_at


def climb(cost, maximum, untrained=math.inf):
    """Returns the rungs in the order in which they are tried."""
    values, order = {}, []
    while rungs := next_rungs(values, maximum, untrained):
        order += rungs
        values |= {rung: cost(rung) for rung in rungs}
    return values, order


def test_two_rungs_are_a_decade():
    assert [rate_at(0.0015, rung) for rung in (-2, -1, 0, 1, 2)] == [
        *(0.00015, 0.000474, 0.0015, 0.00474, 0.015)
    ]


@pytest.mark.parametrize(
    ("lowest", "tried"),
    [(0, [0, -1, 1]), (1, [0, -1, 1, 2]), (3, [0, -1, 1, 2, 3, 4]), (-2, [0, -1, 1, -2, -3])],
)
def test_climbs_until_the_best_is_not_at_an_end(lowest, tried):
    values, order = climb(lambda rung: abs(rung - lowest), 7)
    assert order == tried
    assert best_rung(values) == lowest


def test_stops_at_the_maximum():
    values, order = climb(lambda rung: -rung, 5)
    assert order == [0, -1, 1, 2, 3]
    assert best_rung(values) == 3


@pytest.mark.parametrize(("maximum", "tried"), [(1, []), (2, [0, -1]), (3, [0, -1, 1])])
def test_short_ladders(maximum, tried):
    assert climb(lambda rung: 1.0, maximum)[1] == tried


def test_goes_down_where_everything_diverges():
    values, order = climb(lambda rung: math.inf if rung > -4 else 1.0, 7)
    assert order == [0, -1, 1, -2, -3, -4, -5]
    assert best_rung(values) == -5


# Above rung -3 every training ruins the model, by chance the least at the start.
RUINED = {0: 2.48, -1: 2.72, 1: 2.63, -2: 2.4, -3: 0.24, -4: 0.21, -5: 0.27}


@pytest.mark.parametrize(
    ("untrained", "tried", "best"),
    [(0.28, [0, -1, 1, -2, -3, -4, -5], -4), (2.5, [0, -1, 1], 0), (math.inf, [0, -1, 1], 0)],
)
def test_of_ruined_models_the_best_is_no_optimum(untrained, tried, best):
    values, order = climb(RUINED.__getitem__, 7, untrained)
    assert order == tried
    assert best_rung(values) == best


def test_where_no_rate_helps_the_search_ends_at_the_maximum():
    values, order = climb(lambda rung: 3.0 + rung * rung, 6, 2.5)
    assert order == [0, -1, 1, -2, -3, -4]
    assert best_rung(values) == 0


def test_of_equal_rates_the_lowest_is_best():
    assert best_rung({1: 0.5, 0: 0.5, -1: 0.7}) == 0
