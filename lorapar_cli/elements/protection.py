"""Importance of one system discounted where the other system's is large; numpy only."""

import numpy as np


def discount(values: np.ndarray, other: np.ndarray, mean: float, weight: float) -> np.ndarray:
    """Returns `I / (1 + weight * J / mean(J))`, float32 in the shape of `values`.

    I is the importance for the system itself and J that for the other one. J enters relative to its
    mean, so that the result does not depend on the scale of either: multiplying a system's
    importance by a constant selects the same elements. An element of average importance for the
    other system loses `1 - 1 / (1 + weight)` of its own, one that the other system does not use
    loses nothing, and none becomes negative, which subtracting would make it.

    Args:
        values: I, float32.
        other: J of the same elements, float32.
        mean: Mean of J over all elements that may be chosen; where it is 0, nothing is discounted.
        weight: LAMBDA, at least 0; 0 returns I unchanged.

    Source: FGGM, arXiv 2601.18261 (masks that spare what has a large Fisher information for earlier
    tasks), and MIFO, arXiv 2510.04454 (parameters that matter to RL are protected in SFT). Differs:
    both cut hard; a quotient needs no second threshold.
    """
    if not weight or not mean:
        return values
    factor = 1 + weight * (other.astype(np.float64) / mean)
    return (values.astype(np.float64) / factor).astype(np.float32)
