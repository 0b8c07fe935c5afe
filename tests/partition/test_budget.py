"""The theta of a budget against the definition: every element's own entry, in exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lorapar_cli.elements.top_sets import Ranking, importance_keys
from lorapar_cli.partition import budget as budgets
from lorapar_cli.partition.budget import STEPS, steps_of_budget

VALUES = st.one_of(
    st.sampled_from([0.0, 1.0, 0.1, 2.0, 1e-45, 1e-40, 3e38]), st.floats(0, 1e9, width=32)
)


def in_pieces(values: np.ndarray):
    return lambda: [importance_keys(part) for part in np.array_split(values, 3)]


def found(first: np.ndarray, second: np.ndarray, budget: int) -> int:
    keys = [in_pieces(values) for values in (first, second)]
    return steps_of_budget(*keys, [Ranking(own) for own in keys], budget)


def entries(values: np.ndarray) -> list[int]:
    """The millionths at which each element enters: it is in where what comes before falls short."""
    exact = [Fraction(float(value)) for value in values]
    total, before = sum(exact), Fraction(0)
    steps = [0] * len(values)
    for index in sorted(range(len(values)), key=lambda i: (-values[i], i)):
        steps[index] = int(before / total * STEPS) + 1
        before += exact[index]
    return steps


def by_definition(first: np.ndarray, second: np.ndarray, budget: int) -> int:
    both = sorted(map(min, entries(first), entries(second)))
    return min(both[budget] - 1 if budget < len(both) else STEPS, STEPS)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_steps_equal_the_definition(data):
    first = data.draw(hnp.arrays(np.float32, st.integers(1, 40), elements=VALUES))
    second = data.draw(hnp.arrays(np.float32, len(first), elements=VALUES))
    if first.any() and second.any():
        budget = data.draw(st.integers(1, len(first) + 1))
        assert found(first, second, budget) == by_definition(first, second, budget)


@pytest.mark.parametrize("spread", [0.01, 2.0, 12.0])
@pytest.mark.parametrize("decimals", [None, 1])
def test_steps_of_many_elements(spread, decimals):
    draw = np.random.default_rng(0)
    first, second = np.exp(spread * draw.standard_normal((2, 8_000)))
    if decimals is not None:  # many ties, and zeros
        first, second = (np.round(values, decimals) for values in (first, second))
    first, second = first.astype(np.float32), second.astype(np.float32)
    for budget in (1, 2, 50, 800, 4_000, 7_000, 7_990, 7_999, 8_000):
        assert found(first, second, budget) == by_definition(first, second, budget)


def test_all_equal_elements_enter_one_after_another():
    same = np.full(3_000, 0.1, np.float32)
    for budget in (1, 100, 2_999, 3_000):
        assert found(same, same, budget) == by_definition(same, same, budget)


def test_a_budget_needs_no_cut_for_each_theta(monkeypatch):
    draw = np.random.default_rng(1)
    first, second = np.exp(2 * draw.standard_normal((2, 200_000))).astype(np.float32)
    passes = []
    keys = [in_pieces(values) for values in (first, second)]

    def counted(own):
        return lambda: (passes.append(1), own())[1]

    keys = [counted(own) for own in keys]
    rankings = [Ranking(own) for own in keys]
    passes.clear()
    swept = []
    monkeypatch.setattr(
        budgets, "sweep", lambda *given, sweep=budgets.sweep: (swept.append(1), sweep(*given))[1]
    )
    steps = steps_of_budget(*keys, rankings, 40_000)
    assert 0 < steps < STEPS
    [ranking.by_share([steps / STEPS]) for ranking in rankings]
    # Of each system: groups, low halves, keys, and at most two tries between ties.
    assert len(swept) <= 2
    assert len(passes) <= 2 * (3 + len(swept))
