"""Which learning rates a search tries, and which it chooses; values only, no training.

A rung is a rate half a decade above the one before. Values are of held-out items, always the same
ones, and lower is better; None stands for a training that diverged. Differences are of pairs, so
that what all rates find hard does not count as noise.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

Values = Sequence[float] | None

HIGHEST, LOWEST = 12, -6
"""Rungs beyond which no rate is tried: six decades above the start, three below."""
_HALF_DECADE = 10**0.5
_DECADE = 2
# Standard errors from which a difference is taken for one.
_CLEAR = 2.0


def rate_of(start: float, rung: int) -> float:
    """Returns the rate of a rung, to three digits."""
    return float(f"{start * _HALF_DECADE**rung:.3g}")


def next_rung(tried: Mapping[int, Values]) -> int | None:
    """Returns the rung to try next, None where the search is over.

    Decades upwards from the start until one is clearly worse than the best; downwards while the
    lowest is the best; then half a decade on either side of the best.
    """
    for rung in range(0, HIGHEST + 1, _DECADE):
        if rung not in tried:
            return rung
        best = best_rung(tried)
        if rung > best and is_worse(tried[rung], tried[best]):
            break
    decades = {rung: values for rung, values in tried.items() if rung % _DECADE == 0}
    best = best_rung(decades)
    if best == min(decades) and best > LOWEST:
        return best - _DECADE
    return next((rung for rung in (best - 1, best + 1) if rung not in tried), None)


def choose_rung(tried: Mapping[int, Values], untrained: Sequence[float]) -> int | None:
    """Returns the rung of the best mean or, of equals, the one above; None if none helps.

    One is equal whose values are within one standard error of the best. A trial warms up and decays
    within few steps, which favours rates that are too low for many; but no rate further up is taken,
    however noisy the values are.

    Args:
        untrained: Values of the same items without training; what is not clearly better than these
            does not help.
    """
    rung = best_rung(tried)
    best, above = tried[rung], tried.get(rung + 1)
    if best is None or not is_worse(untrained, best):
        return None
    if above is None:
        return rung
    difference, error = paired(above, best)
    return rung + 1 if difference <= error else rung


def best_rung(tried: Mapping[int, Values]) -> int:
    """Returns the rung of the best mean, the lowest of several."""
    return min(sorted(tried), key=lambda rung: mean_of(tried[rung]))


def mean_of(values: Values) -> float:
    """Returns the mean; infinity where training diverged."""
    return math.inf if values is None else fmean(values)


def is_worse(values: Values, than: Values) -> bool:
    """Returns whether values are clearly worse: by more than two standard errors, or diverged."""
    if values is None or than is None:
        return values is None and than is not None
    difference, error = paired(values, than)
    return difference > _CLEAR * error


def paired(values: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Returns the mean difference of pairs, and its standard error; infinite for one pair."""
    differences = [one - two for one, two in zip(values, other, strict=True)]
    if len(differences) < 2:
        return differences[0], math.inf
    return fmean(differences), stdev(differences) / math.sqrt(len(differences))
