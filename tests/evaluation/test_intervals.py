"""Intervals and tests against scipy, counting and simulation by hand."""

import itertools
import math
import random

import pytest

from lorapar_cli.evaluation.intervals import (
    Z95,
    majority_answer,
    mcnemar_exact,
    paired_difference,
    pass_at_k,
    wilson_interval,
)

TABLES = [(0, 1), (1, 1), (0, 40), (40, 40), (7, 19), (263, 800), (1319, 1319), (5000, 14042)]


@pytest.mark.parametrize(("correct", "n"), TABLES)
def test_wilson_bounds_solve_the_score_equation(correct, n):
    share = correct / n
    for bound in wilson_interval(correct, n):
        # At each bound the observed share is exactly z standard errors away.
        assert abs(share - bound) == pytest.approx(
            Z95 * math.sqrt(bound * (1 - bound) / n), abs=1e-12
        )


def test_wilson_of_nothing_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scipy_on_random_tables(seed):
    stats = pytest.importorskip("scipy.stats")
    rng = random.Random(seed)
    for _ in range(40):
        n = rng.randint(1, 3000)
        correct = rng.randint(0, n)
        theirs = stats.binomtest(correct, n).proportion_ci(method="wilson")
        assert wilson_interval(correct, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
        b, c = rng.randint(0, 60), rng.randint(0, 60)
        if b + c:
            assert mcnemar_exact(b, c) == pytest.approx(
                stats.binomtest(b, b + c, 0.5).pvalue, rel=1e-9
            )
    assert pytest.approx(stats.norm.ppf(0.975), abs=1e-15) == Z95


def test_agrees_with_statsmodels_on_random_tables():
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    rng = random.Random(1)
    for _ in range(40):
        a, b, c, d = (rng.randint(0, 200) for _ in range(4))
        theirs = tables.mcnemar([[a, b], [c, d]], exact=True).pvalue
        if b + c:
            assert mcnemar_exact(b, c) == pytest.approx(theirs, rel=1e-9)
        n = a + b + c + d + 1
        assert wilson_interval(a, n) == pytest.approx(
            proportion.proportion_confint(a, n, method="wilson"), abs=1e-12
        )


def test_mcnemar_by_counting_every_outcome():
    for b, c in itertools.product(range(7), repeat=2):
        n = b + c
        outcomes = [sum(o) for o in itertools.product((0, 1), repeat=n)]
        extreme = sum(abs(heads - n / 2) >= abs(b - n / 2) for heads in outcomes)
        assert mcnemar_exact(b, c) == pytest.approx(extreme / len(outcomes))


def test_mcnemar_of_large_tables_is_finite():
    assert mcnemar_exact(9000, 9000) == 1.0
    assert 0.0 <= mcnemar_exact(9000, 100) < 1e-300


def test_paired_difference_is_the_mean_of_differences_with_two_imagined_records():
    rng = random.Random(3)
    for _ in range(20):
        n = rng.randint(1, 400)
        first = [rng.random() < 0.6 for _ in range(n)]
        second = [rng.random() < 0.5 for _ in range(n)]
        found = paired_difference(first, second)
        differences = [int(a) - int(b) for a, b in zip(first, second, strict=True)]
        assert found.difference == pytest.approx(sum(differences) / n)
        extended = [*differences, 1, -1]
        mean = sum(extended) / len(extended)
        variance = sum((d - mean) ** 2 for d in extended) / len(extended)
        half = Z95 * math.sqrt(variance / len(extended))
        assert (found.low, found.high) == pytest.approx(
            (max(-1, mean - half), min(1, mean + half)), abs=1e-12
        )


@pytest.mark.parametrize(("p", "q"), [(0.15, 0.05), (0.3, 0.2), (0.02, 0.02), (0.1, 0.0)])
def test_paired_interval_covers_the_truth(p, q):
    n, covered = 60, 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            found = paired_difference(
                [True] * b + [False] * (n - b), [False] * b + [True] * c + [False] * (n - b - c)
            )
            if found.low <= p - q <= found.high:
                covered += (
                    math.comb(n, b) * math.comb(n - b, c) * p**b * q**c * (1 - p - q) ** (n - b - c)
                )
    assert covered > 0.93


def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample():
    for n, correct in itertools.product(range(1, 8), range(8)):
        if correct > n:
            continue
        samples = [i < correct for i in range(n)]
        for k in range(1, n + 1):
            subsets = list(itertools.combinations(samples, k))
            naive = sum(any(subset) for subset in subsets) / len(subsets)
            assert pass_at_k(n, correct, k) == pytest.approx(naive)


def test_pass_at_k_refuses_too_few_samples():
    with pytest.raises(ValueError, match="pass@3"):
        pass_at_k(2, 1, 3)


def test_majority_counts_equal_answers_together():
    assert majority_answer(["7", "1,000", "1000", None, None, None]) == "1,000"
    assert majority_answer(["2", "1"]) == "2"
    assert majority_answer([None]) is None
