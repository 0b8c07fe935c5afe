"""Whether a partition exceeds sampling noise, told from two halves of each system's samples.

If the sets chosen by two halves of one system's samples differ as much as the sets of the two
systems, the difference between the systems may be an accident of the samples. numpy only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np

from lorapar_cli.elements.top_sets import Keys, Ranking, TopSetMask
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.stage_records.score import Noise, NoiseVerdict

_COMPARED = 1 << 20


@dataclass(frozen=True)
class HalfSet:
    """The top set of the importance that one half of one system's samples gives.

    Attributes:
        chosen: Bool `[elements]`, the top set.
        ranks: Float64 `[compared]`, ranks of the importance of every n-th element; n is such that
            at most 2**20 are compared.
        terms: Float64 `[compared]`, signed mean gradient times value of the same elements; None
            for an importance that does not use that product.
    """

    chosen: np.ndarray
    ranks: np.ndarray
    terms: np.ndarray | None


def half_set(keys: Keys, theta: float, terms: Iterable[np.ndarray] | None) -> HalfSet:
    """Returns the top-theta set, ranks and signed terms of one half's importance.

    Args:
        terms: Mean gradient times value, as vectors like those of `keys`; None for an importance
            that does not use that product.
    """
    picker = TopSetMask(Ranking(keys).by_share([theta])[0])
    chosen = np.concatenate([picker.pick(vector) for vector in keys()])
    stride = -(-chosen.size // _COMPARED)
    every = _every(keys(), stride)
    signed = None if terms is None else _every(terms, stride).astype(np.float64)
    return HalfSet(chosen, average_ranks(every), signed)


def _every(vectors: Iterable[np.ndarray], stride: int) -> np.ndarray:
    """Returns every n-th element of the concatenated vectors."""
    taken, position = [], 0
    for vector in vectors:
        taken.append(vector[-position % stride :: stride])
        position += vector.size
    return np.concatenate(taken)


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Returns ranks from 1 as float64; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place].astype(np.float64)


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the share of the union of two bool sets that is in both; 1.0 for two empty ones."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


def _chance(size1: float, size2: float, elements: int) -> float:
    """Returns the Jaccard of two independent random sets of these mean sizes."""
    shared = size1 * size2 / elements
    return shared / (size1 + size2 - shared)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def compare_halves(
    first: list[HalfSet], second: list[HalfSet], theta: float, samples: int
) -> Noise:
    """Returns how two halves of each system agree with each other and across systems.

    Args:
        theta: Where the halves' sets were cut.
        samples: Number of samples of the smaller system, both halves together.
    """
    pairs = list(product(first, second))
    between = [jaccard(a.chosen, b.chosen) for a, b in pairs]
    rank_between = float(np.mean([_correlation(a.ranks, b.ranks) for a, b in pairs]))
    within = [jaccard(a.chosen, b.chosen) for a, b in (first, second)]
    rank_within = [_correlation(a.ranks, b.ranks) for a, b in (first, second)]
    size1, size2 = (
        float(np.mean([np.count_nonzero(half.chosen) for half in halves]))
        for halves in (first, second)
    )
    spread, mean_between = float(np.std(between)), float(np.mean(between))
    excess = float(np.mean(within)) - mean_between
    beyond = excess / (1 - mean_between) if mean_between < 1 else 0.0
    return {
        "theta": theta,
        "within1": within[0],
        "within2": within[1],
        "between": mean_between,
        "between_spread": spread,
        "chance": _chance(size1, size2, first[0].chosen.size),
        "rank_within1": rank_within[0],
        "rank_within2": rank_within[1],
        "rank_between": rank_between,
        "beyond": beyond,
        "samples": samples,
        "needed": _needed(first, second, samples),
        "verdict": _judge(beyond, excess, spread),
    }


def _judge(beyond: float, excess: float, spread: float) -> NoiseVerdict:
    if excess <= max(2 * spread, 0.01):
        return "not"
    return "above" if beyond >= 1 / 3 else "barely"


def _needed(first: list[HalfSet], second: list[HalfSet], samples: int) -> int | None:
    """Returns the larger of the two systems' `samples_needed`, None where either has none."""
    signed = [
        [half.terms for half in halves if half.terms is not None] for halves in (first, second)
    ]
    terms1, terms2 = signed
    if len(terms1) < len(first) or len(terms2) < len(second):
        return None
    between = float(np.mean([_cosine(a, b) for a, b in product(terms1, terms2)]))
    needed = [samples_needed(_cosine(a, b), between, samples) for a, b in signed]
    known = [number for number in needed if number is not None]
    return max(known) if len(known) == len(needed) else None


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / length if length else 0.0


def samples_needed(within: float, between: float, samples: int) -> int | None:
    """Returns the samples per system at which noise is half of the difference between systems.

    Mean gradients are sums over samples, so the cosine r of two halves' means follows the
    Spearman-Brown formula exactly in expectation: with m times the samples it is
    `m r / (1 + (m - 1) r)`. The cosine between systems in the limit of infinitely many samples is
    `rho = between / within`. Noise `1 - r` is half of the difference `1 - rho r` where
    `r = 1 / (2 - rho)`. (Importance itself does not extrapolate: noise has a magnitude as well,
    which is large for the same elements in both halves.)

    Args:
        within: Cosine of mean gradient times value, between two halves of one system.
        between: The same between halves of different systems.
        samples: Number of samples of both halves together.

    Returns:
        None where the systems differ no more than the halves do, or the halves do not agree at
        all.
    """
    if within <= 0 or between >= within:
        return None
    if within >= 1:
        return samples
    wanted = 1 / (2 - max(between, 0.0) / within)
    times = wanted * (1 - within) / (within * (1 - wanted))
    return max(1, round(times * samples / 2))


def in_words(noise: Noise) -> str:
    """Returns a sentence that says whether the partition is above sampling noise."""
    heads = {
        "above": "the partition is clearly above sampling noise",
        "barely": "the partition is barely above sampling noise",
        "not": "the partition is not above sampling noise",
    }
    figures = (
        "the top sets of two halves of a system's samples have a Jaccard index of "
        f"{noise['within1']:.2f} and {noise['within2']:.2f}, those of halves of different systems "
        f"{noise['between']:.2f}, random sets {noise['chance']:.2f}"
    )
    beyond = f"{100 * max(noise['beyond'], 0):.0f} % of the difference exceeds sampling noise"
    if noise["needed"] is None:
        tail = "the number of samples needed cannot be extrapolated"
    elif noise["needed"] <= noise["samples"]:
        tail = (
            f"{counted(noise['samples'], 'sample')} per system "
            f"{inflected(noise['samples'], 'is', 'are')} enough, by extrapolation"
        )
    else:
        tail = (
            f"about {counted(noise['needed'], 'sample')} per system would reduce noise to half of the "
            f"difference between the systems' gradients, extrapolated from {noise['samples']}"
        )
    return f"{heads[noise['verdict']]}: {figures}; {beyond}; {tail}"
