"""The search for a learning rate: a ladder of half decades, climbed until the best is not at an end.

Values and lists only; no training.
"""

import math
from collections.abc import Mapping

_HALF_DECADE = 10**0.5


def rate_at(start: float, rung: int) -> float:
    """Returns the rate `rung` half decades above the start, to three digits."""
    return float(f"{start * _HALF_DECADE**rung:.3g}")


def next_rungs(values: Mapping[int, float], maximum: int, untrained: float = math.inf) -> list[int]:
    """Returns the rungs to try next, none where the search is over.

    The first ones are the start and its neighbours. While the best one is at an end of the ladder,
    the ladder grows there. Where even the best one is worse than no training, all rates are taken
    for too high: of models that were ruined, one is the best as well, but says nothing of the rate.

    Args:
        values: Rung -> value, lower is better, infinite where training diverged.
        maximum: Number of rungs that may be tried in all.
        untrained: Value of the model that the trainings start from.
    """
    if maximum == 1:
        return []
    first = [0, -1, 1][:maximum]
    if left := [rung for rung in first if rung not in values]:
        return left
    if len(values) >= maximum:
        return []
    best = best_rung(values)
    if best == min(values) or values[best] == math.inf or values[best] > untrained:
        return [min(values) - 1]
    if best == max(values):
        return [best + 1]
    return []


def best_rung(values: Mapping[int, float]) -> int:
    """Returns the rung of the best value, the lowest of several."""
    return min(sorted(values), key=lambda rung: values[rung])
