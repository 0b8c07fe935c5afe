"""Is a partition more than sampling noise? Two halves of each system's samples tell; numpy only.

If two halves of one system's samples choose sets that differ as much as the sets of the two
systems do, then the difference between the systems may be an accident of the samples.
"""

from dataclasses import asdict, dataclass
from itertools import product

import numpy as np

from lorapar_cli.core.regions import Keys, Picker, Ranking

_RANKED = 1 << 20


@dataclass(frozen=True)
class HalfSet:
    """What one half of one system's samples would choose.

    Attributes:
        chosen: Bool `[elements]`, the top set.
        ranks: Ranks of the importance of a fixed subset of at most 2**20 elements, float64.
    """

    chosen: np.ndarray
    ranks: np.ndarray


def half_set(keys: Keys, theta: float) -> HalfSet:
    """Returns the top-theta set and the ranks of one half's importance."""
    picker = Picker(Ranking(keys).by_share([theta])[0])
    chosen = np.concatenate([picker.pick(vector) for vector in keys()])
    stride = -(-chosen.size // _RANKED)
    sample, position = [], 0
    for vector in keys():
        sample.append(vector[-position % stride :: stride])
        position += vector.size
    return HalfSet(chosen, average_ranks(np.concatenate(sample)))


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
        samples: Samples of the smaller system, both halves together.
        needed: Samples a system at which sampling noise would be half of the difference between
            the systems, by extrapolation; None where no number of samples would do.
        verdict: `above`, `barely` or `not` above sampling noise.
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
    spread = float(np.std(between))
    excess = float(np.mean(within) - np.mean(between))
    return Noise(
        theta=theta,
        within1=within[0],
        within2=within[1],
        between=float(np.mean(between)),
        between_spread=spread,
        chance=float(_chance(*sizes, first[0].chosen.size)),
        rank_within1=rank_within[0],
        rank_within2=rank_within[1],
        rank_between=rank_between,
        samples=samples,
        needed=samples_needed(float(np.mean(rank_within)), rank_between, samples),
        verdict=_judge(excess, min(within) - float(np.mean(between)), spread),
    )


def _judge(excess: float, smallest_excess: float, spread: float) -> str:
    """Returns the verdict: each system's own agreement must stand clear of that between systems.

    Clear is twice the spread of the four comparisons between systems, and at least 0.02.
    """
    clear = max(2 * spread, 0.02)
    if smallest_excess > clear:
        return "above"
    return "barely" if excess > 0 else "not"


def samples_needed(within: float, between: float, samples: int) -> int | None:
    """Returns the samples a system at which noise is half of the difference between systems.

    Rank correlations are extrapolated by the Spearman-Brown formula: the halves' agreement r
    becomes `m r / (1 + (m - 1) r)` with m times the samples. The correlation between systems that
    endless samples would show is `rho = between / within`. Noise `1 - r` is half of the difference
    `1 - rho r` where `r = 1 / (2 - rho)`.

    Args:
        within: Correlation of two halves of one system.
        between: Correlation of halves of different systems.
        samples: Both halves together.

    Returns:
        None where the systems differ no more than halves do, or halves agree not at all.
    """
    if within <= 0 or between >= within:
        return None
    rho = max(between, 0.0) / within
    wanted = 1 / (2 - rho)
    if within >= 1:
        return samples
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
    if noise.needed is None:
        tail = "no number of samples would tell the systems apart, by extrapolation"
    elif noise.needed <= noise.samples:
        tail = f"{noise.samples} samples a system are enough, by extrapolation"
    else:
        tail = (
            f"about {noise.needed:,} samples a system would bring noise down to half of the "
            f"difference between the systems, by extrapolation from {noise.samples}"
        )
    return f"{heads[noise.verdict]}: {figures}; {tail}"
