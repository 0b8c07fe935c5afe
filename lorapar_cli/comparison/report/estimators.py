"""Differences between two ways of training, with their uncertainty: intervals, tests, corrections.

Standard library only.

Both ways were trained with the same seeds and measured on the same records, so that everything is
paired: `d[i][s]` is the difference on record i between the two trainings with seed s. The records
are a sample of all records, the seeds a sample of all trainings, and the mean difference varies
with both. Clustering on records alone would take the luck of three trainings for an effect: in
simulations it calls every second null significant where trainings differ by a third of the spread
of records.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
_TINY = 1e-300
_ROUNDING = 1e-9
_ITERATIONS = 500


@dataclass(frozen=True)
class MeanDifference:
    """A mean paired difference and what is known of it.

    Attributes:
        records, seeds: How many of each.
        difference: Mean over records and seeds.
        low, high: Ends of the 95 % interval.
        standard_error: Of the mean.
        degrees: Degrees of freedom of the t distribution.
        p_value: Two-sided, of no difference.
    """

    records: int
    seeds: int
    difference: float
    low: float
    high: float
    standard_error: float
    degrees: float
    p_value: float

    @property
    def high_one_sided(self) -> float:
        """Upper end of the one-sided 95 % interval."""
        return self.difference + t_quantile(CONFIDENCE, self.degrees) * self.standard_error

    @property
    def low_one_sided(self) -> float:
        """Lower end of the one-sided 95 % interval."""
        return self.difference - t_quantile(CONFIDENCE, self.degrees) * self.standard_error


def mean_difference(differences: Sequence[Sequence[float]]) -> MeanDifference:
    """Returns the mean of paired differences with its interval and test.

    The model is `d[i][s] = mean + record i + seed s + rest`, all but the mean random. The variance
    of the mean is estimated from the mean squares of the two-way layout, V(records) + V(seeds) -
    V(rest), with the degrees of freedom of Satterthwaite. Where the seeds show no variance beyond
    the rest's, and with one seed, it is V(records) with n - 1 degrees of freedom: the variance
    clustered on records.

    Args:
        differences: `[records][seeds]`.

    Raises:
        ValueError: Fewer than two records.

    Source: Satterthwaite (1946), "An approximate distribution of estimates of variance components";
        Clark (1973) for the same test with items and subjects in the place of records and seeds.
    """
    n, seeds = len(differences), len(differences[0]) if differences else 0
    if n < 2 or not seeds:
        raise ValueError(f"{n} records with {seeds} seeds have no estimate of their variance")
    by_record = [math.fsum(row) / seeds for row in differences]
    by_seed = [math.fsum(row[s] for row in differences) / n for s in range(seeds)]
    mean = math.fsum(by_record) / n
    of_records = _variance_of_mean(by_record, mean)
    variance, degrees = of_records, float(n - 1)
    if seeds > 1:
        of_seeds = _variance_of_mean(by_seed, mean)
        rest = math.fsum(
            (value - by_record[i] - by_seed[s] + mean) ** 2
            for i, row in enumerate(differences)
            for s, value in enumerate(row)
        )
        of_rest = rest / ((n - 1) * (seeds - 1) * n * seeds)
        # Accuracies often have equal ones, which differ by rounding.
        if of_seeds > of_rest * (1 + _ROUNDING):
            variance = of_records + of_seeds - of_rest
            spread = (
                of_records**2 / (n - 1)
                + of_seeds**2 / (seeds - 1)
                + of_rest**2 / ((n - 1) * (seeds - 1))
            )
            # The subtraction must not make it less certain than the seeds alone would be.
            degrees = max(variance**2 / spread, float(min(n, seeds) - 1))
    error = math.sqrt(variance)
    half = t_quantile((1 + CONFIDENCE) / 2, degrees) * error
    p_value = 2 * t_tail(abs(mean) / error, degrees) if error > 0 else float(mean == 0)
    return MeanDifference(n, seeds, mean, mean - half, mean + half, error, degrees, p_value)


def _variance_of_mean(values: Sequence[float], mean: float) -> float:
    squares = math.fsum((value - mean) ** 2 for value in values)
    return squares / (len(values) * (len(values) - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p-values corrected for their number, in the same order.

    One at or below a level is significant at that level whichever others are.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def t_tail(t: float, degrees: float) -> float:
    """Returns the probability that Student's t exceeds `t`, which is at least 0."""
    return _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t)) / 2


def t_quantile(probability: float, degrees: float) -> float:
    """Returns the value that Student's t stays below with a probability of 0.5 to below 1."""
    upper = 1.0
    while t_tail(upper, degrees) > 1 - probability:
        upper *= 2
    return _bisect(lambda t: t_tail(t, degrees) > 1 - probability, 0.0, upper)


def _bisect(too_low: Callable[[float], bool], low: float, high: float) -> float:
    """Returns where a condition that holds at `low` and not at `high` ends, to the last digit."""
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return high
        if too_low(middle):
            low = middle
        else:
            high = middle


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Returns the regularised incomplete beta function of 0 <= x <= 1, for positive a and b.

    Source: the continued fraction of Abramowitz and Stegun, 26.5.8, evaluated by Lentz's method.
    """
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log1p(-x)) / a
    fraction, c, d = 1.0, 1.0, 0.0
    for step in range(_ITERATIONS):
        m = step // 2
        if step == 0:
            term = 1.0
        elif step % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _away_from_zero(1 + term * d)
        c = _away_from_zero(1 + term / c)
        fraction *= c * d
        if abs(1 - c * d) < 1e-15:
            return front * (fraction - 1)
    raise ArithmeticError(f"the incomplete beta function of {a}, {b}, {x} does not converge")


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
