"""Differences, intervals and corrections: against statsmodels, scipy and simulated nulls."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lorapar_cli.comparison.report.estimators import holm, mean_difference, t_quantile, t_tail


def layout(records, seeds, *, of_records=1.0, of_seeds=0.0, rest=1.0, effect=0.0, draw=0):
    """Returns simulated differences `[records, seeds]`."""
    g = np.random.default_rng(draw)
    return (
        effect
        + g.normal(0, 1, (records, 1)) * of_records
        + g.normal(0, 1, (1, seeds)) * of_seeds
        + g.normal(0, 1, (records, seeds)) * rest
    )


def clustered(d, axis):
    """Returns statsmodels' fit of a constant, clustered on records (0) or seeds (1)."""
    groups = np.broadcast_to(np.expand_dims(np.arange(d.shape[axis]), 1 - axis), d.shape)
    model = sm.OLS(d.ravel(), np.ones(d.size))
    return model.fit(cov_type="cluster", cov_kwds={"groups": groups.ravel()}, use_t=True)


def test_one_seed_is_the_interval_clustered_on_records():
    d = layout(37, 1, effect=0.2, draw=3)
    found, fit = mean_difference(d.tolist()), clustered(d, 0)
    low, high = fit.conf_int()[0]
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert found.p_value == pytest.approx(fit.pvalues[0], rel=1e-8)
    assert found.difference == pytest.approx(d.mean())


def test_seeds_that_add_nothing_leave_the_interval_clustered_on_records():
    d = layout(60, 3, effect=0.1, draw=1)
    d -= d.mean(0) - d.mean()  # No difference between seeds at all.
    found, fit = mean_difference(d.tolist()), clustered(d, 0)
    assert found.standard_error == pytest.approx(fit.bse[0], rel=1e-9)
    assert found.degrees == 59
    assert (found.low, found.high) == pytest.approx(tuple(fit.conf_int()[0]), rel=1e-9)


@pytest.mark.parametrize("records", [3, 7, 10, 24, 45])
def test_seeds_that_differ_like_the_rest_add_nothing_whatever_the_rounding(records):
    """One answer of one training differs: the seeds' mean square is the rest's."""
    d = np.zeros((records, 2))
    d[0, 0] = -1.0
    found, fit = mean_difference(d.tolist()), clustered(d, 0)
    assert found.degrees == records - 1
    assert (found.low, found.high) == pytest.approx(tuple(fit.conf_int()[0]), rel=1e-9)


def test_seeds_that_differ_add_their_variance():
    d = layout(40, 4, of_seeds=0.6, draw=5)
    found = mean_difference(d.tolist())
    # The rest: residuals of both means, over their degrees of freedom.
    rest = d - d.mean(1, keepdims=True) - d.mean(0, keepdims=True) + d.mean()
    of_rest = (rest**2).sum() / (39 * 3) / d.size
    variance = clustered(d, 0).bse[0] ** 2 + clustered(d, 1).bse[0] ** 2 - of_rest
    assert found.standard_error**2 == pytest.approx(variance, rel=1e-9)
    assert 3 <= found.degrees < 39
    half = stats.t.ppf(0.975, found.degrees) * math.sqrt(variance)
    assert found.high - found.low == pytest.approx(2 * half, rel=1e-8)
    assert found.high_one_sided == pytest.approx(
        d.mean() + stats.t.ppf(0.95, found.degrees) * math.sqrt(variance), rel=1e-8
    )


def test_a_known_layout_by_hand():
    # Both records are 1 from the mean, seeds alike: V = (1 + 1) / (2 records * 1).
    found = mean_difference([[1.0, 1.0], [3.0, 3.0]])
    assert found.difference == 2.0
    assert found.standard_error == pytest.approx(1.0)
    assert found.degrees == 1
    assert found.p_value == pytest.approx(2 * stats.t.sf(2, 1))


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_constant_differences_are_certain(value):
    found = mean_difference([[value, value]] * 5)
    assert (found.low, found.high) == (value, value)
    assert found.p_value == (1.0 if value == 0 else 0.0)


def test_one_record_is_refused():
    with pytest.raises(ValueError, match="1 records with 3 seeds"):
        mean_difference([[1.0, 2.0, 3.0]])


# (spread of records, of seeds, of the rest): the trainings' luck from nothing to a lot.
@pytest.mark.parametrize(
    "spread", [(1, 0, 1), (1, 0.05, 1), (1, 0.1, 1), (1, 0.3, 0.5), (0.3, 0.05, 1)]
)
def test_a_simulated_null_is_significant_at_the_nominal_rate(spread):
    """Random against random, 100 comparisons of synthetic losses: 1 to 11 by the binomial."""
    of_records, of_seeds, rest = spread
    found = [
        mean_difference(
            layout(100, 3, of_records=of_records, of_seeds=of_seeds, rest=rest, draw=n).tolist()
        )
        for n in range(100)
    ]
    rejected = sum(each.p_value < 0.05 for each in found)
    assert rejected <= stats.binom.ppf(0.999, 100, 0.05)
    assert rejected == sum(not each.low <= 0 <= each.high for each in found)


def test_the_null_is_not_merely_never_rejected():
    """Over 1,000 nulls the rate is near 5 %, and a real effect is found."""
    of_null = [mean_difference(layout(100, 3, draw=n).tolist()).p_value for n in range(1000)]
    assert 0.02 <= np.mean(np.array(of_null) < 0.05) <= 0.07
    with_effect = [
        mean_difference(layout(100, 3, effect=0.6, draw=n).tolist()).p_value for n in range(100)
    ]
    assert np.mean(np.array(with_effect) < 0.05) > 0.95


def test_records_alone_would_call_luck_an_effect():
    """Why seeds are in the model: clustered on records, nulls with unlucky trainings are rejected."""
    rejected = {"ours": 0, "records": 0}
    for n in range(100):
        d = layout(100, 3, of_seeds=0.3, rest=0.5, draw=n)
        rejected["ours"] += mean_difference(d.tolist()).p_value < 0.05
        rejected["records"] += clustered(d, 0).pvalues[0] < 0.05
    assert rejected["records"] > 25
    assert rejected["ours"] <= stats.binom.ppf(0.999, 100, 0.05)


def test_a_family_of_nulls_is_seldom_rejected_after_the_correction():
    families = 0
    for n in range(100):
        of_family = [
            mean_difference(layout(60, 3, draw=1000 * n + k).tolist()).p_value for k in range(9)
        ]
        families += min(holm(of_family)) < 0.05
    assert families <= stats.binom.ppf(0.999, 100, 0.05)


@pytest.mark.parametrize(
    "p_values",
    [[], [0.2], [0.01, 0.04, 0.03, 0.005, 0.5], [0.02, 0.02, 0.02], [1.0, 0.9], [0.0, 1.0]],
)
def test_holm_agrees_with_statsmodels(p_values):
    wanted = multipletests(p_values, method="holm")[1] if p_values else []
    assert holm(p_values) == pytest.approx(list(wanted))


@pytest.mark.parametrize("degrees", [1, 1.3, 2, 3.7, 10, 99, 5000.5])
def test_student_agrees_with_scipy(degrees):
    for t in (0.0, 0.01, 0.5, 1.0, 2.0, 4.3, 12.0, 60.0):
        assert t_tail(t, degrees) == pytest.approx(stats.t.sf(t, degrees), rel=1e-10, abs=1e-15)
    for probability in (0.5, 0.6, 0.9, 0.95, 0.975, 0.999):
        assert t_quantile(probability, degrees) == pytest.approx(
            stats.t.ppf(probability, degrees), rel=1e-8, abs=1e-8
        )
