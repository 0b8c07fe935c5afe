"""Is a partition more than sampling noise? Two halves of each system's samples tell; numpy only.

If two halves of one system's samples choose sets that differ as much as the sets of the two
systems do, then the difference between the systems may be an accident of the samples.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np

from lorapar_cli.elements.top_sets import Keys, Ranking, TopSetMask

_COMPARED = 1 << 20


@dataclass(frozen=True)
class HalfSet:
    """What one half of one system's samples would choose.

    Attributes:
        chosen: Bool `[elements]`, the top set.
        ranks: Ranks of the importance of every n-th element, at most 2**20, float64.
        terms: Of the same elements, mean gradient times value with its sign, float64; None where
            the importance does not rest on it.
    """

    chosen: np.ndarray
    ranks: np.ndarray
    terms: np.ndarray | None


def half_set(keys: Keys, theta: float, terms: Iterable[np.ndarray] | None) -> HalfSet:
    """Returns the top-theta set, ranks and signed terms of one half's importance.

    Args:
        terms: Mean gradient times value, as vectors like those of `keys`; None where the
            importance does not rest on it.
    """
    picker = TopSetMask(Ranking(keys).by_share([theta])[0])
    chosen = np.concatenate([picker.pick(vector) for vector in keys()])
    stride = -(-chosen.size // _COMPARED)
    every = _every(keys(), stride)
    signed = None if terms is None else _every(terms, stride).astype(np.float64)
    return HalfSet(chosen, average_ranks(every), signed)


def _every(vectors: Iterable[np.ndarray], stride: int) -> np.ndarray:
    """Returns every n-th element of the vectors put end to end."""
    taken, position = [], 0
    for vector in vectors:
        taken.append(vector[-position % stride :: stride])
        position += vector.size
    return np.concatenate(taken)


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Returns ranks from 1, equal values sharing their mean rank, float64."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place].astype(np.float64)


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the share of the union that is in both sets; 1.0 for two empty sets."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


def _chance(size1: int, size2: int, elements: int) -> float:
    shared = size1 * size2 / elements
    return shared / (size1 + size2 - shared)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


@dataclass(frozen=True)
class Noise:
    """How the halves of the systems' samples agree, all at half the samples.

    Attributes:
        theta: Where the sets were cut.
        within1, within2: Jaccard of the two halves of one system.
        between: Mean Jaccard of a half of one system with a half of the other (four pairs).
        between_spread: Standard deviation of those four.
        chance: Jaccard of independent random sets of these sizes.
        rank_within1, rank_within2, rank_between: Spearman correlations of the same pairs.
        beyond: Share of the difference between the systems' sets, as Jaccard distance, that is
            not there between halves of one system.
        samples: Samples of the smaller system, both halves together.
        needed: Samples a system at which sampling noise would be half of the difference between
            the systems (`samples_needed`); None where it cannot be told.
        verdict: `above` (a third of the difference is beyond noise), `barely` or `not`.
    """

    theta: float
    within1: float
    within2: float
    between: float
    between_spread: float
    chance: float
    rank_within1: float
    rank_within2: float
    rank_between: float
    beyond: float
    samples: int
    needed: int | None
    verdict: str

    def to_metrics(self) -> dict[str, object]:
        """Returns the fields as JSON."""
        return asdict(self)


def compare_halves(
    first: list[HalfSet], second: list[HalfSet], theta: float, samples: int
) -> Noise:
    """Returns how two halves of each system agree with each other and across systems."""
    pairs = list(product(first, second))
    between = [jaccard(a.chosen, b.chosen) for a, b in pairs]
    rank_between = float(np.mean([_correlation(a.ranks, b.ranks) for a, b in pairs]))
    within = [jaccard(a.chosen, b.chosen) for a, b in (first, second)]
    rank_within = [_correlation(a.ranks, b.ranks) for a, b in (first, second)]
    sizes = [
        np.mean([np.count_nonzero(half.chosen) for half in halves]) for halves in (first, second)
    ]
    spread, mean_between = float(np.std(between)), float(np.mean(between))
    excess = float(np.mean(within)) - mean_between
    beyond = excess / (1 - mean_between) if mean_between < 1 else 0.0
    return Noise(
        theta=theta,
        within1=within[0],
        within2=within[1],
        between=mean_between,
        between_spread=spread,
        chance=float(_chance(*sizes, first[0].chosen.size)),
        rank_within1=rank_within[0],
        rank_within2=rank_within[1],
        rank_between=rank_between,
        beyond=beyond,
        samples=samples,
        needed=_needed(first, second, samples),
        verdict=_judge(beyond, excess, spread),
    )


def _judge(beyond: float, excess: float, spread: float) -> str:
    if excess <= max(2 * spread, 0.01):
        return "not"
    return "above" if beyond >= 1 / 3 else "barely"


def _needed(first: list[HalfSet], second: list[HalfSet], samples: int) -> int | None:
    if any(half.terms is None for half in (*first, *second)):
        return None
    between = float(np.mean([_cosine(a.terms, b.terms) for a, b in product(first, second)]))
    needed = [
        samples_needed(_cosine(*(half.terms for half in halves)), between, samples)
        for halves in (first, second)
    ]
    return None if None in needed else max(needed)


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / length if length else 0.0


def samples_needed(within: float, between: float, samples: int) -> int | None:
    """Returns the samples a system at which noise is half of the difference between systems.

    Mean gradients are sums over samples, so the cosine r of two halves' means follows the
    Spearman-Brown formula exactly in expectation: with m times the samples it is
    `m r / (1 + (m - 1) r)`. The cosine between systems that endless samples would show is
    `rho = between / within`. Noise `1 - r` is half of the difference `1 - rho r` where
    `r = 1 / (2 - rho)`. (Importance itself does not extrapolate: noise has a magnitude too, which
    is large for the same elements in both halves.)

    Args:
        within: Cosine of mean gradient times value, between two halves of one system.
        between: The same between halves of different systems.
        samples: Both halves together.

    Returns:
        None where the systems differ no more than halves do, or halves agree not at all.
    """
    if within <= 0 or between >= within:
        return None
    if within >= 1:
        return samples
    wanted = 1 / (2 - max(between, 0.0) / within)
    times = wanted * (1 - within) / (within * (1 - wanted))
    return max(1, round(times * samples / 2))


def in_words(noise: Noise) -> str:
    """Returns the sentences that say whether the partition is above sampling noise."""
    own = f"{noise.within1:.2f} and {noise.within2:.2f}"
    figures = (
        f"two halves of the same system's samples agree at Jaccard {own}, halves of different "
        f"systems at {noise.between:.2f}, chance is {noise.chance:.2f}"
    )
    heads = {
        "above": "the partition stands clear of sampling noise",
        "barely": "the partition is barely above sampling noise",
        "not": "the partition is not above sampling noise",
    }
    beyond = f"{100 * max(noise.beyond, 0):.0f} % of the difference is more than sampling noise"
    if noise.needed is None:
        tail = "how many samples would do cannot be told from these"
    elif noise.needed <= noise.samples:
        tail = f"{noise.samples} samples a system are enough, by extrapolation"
    else:
        tail = (
            f"about {noise.needed:,} samples a system would bring noise down to half of the "
            f"difference between the systems' gradients, by extrapolation from {noise.samples}"
        )
    return f"{heads[noise.verdict]}: {figures}; {beyond}; {tail}"
