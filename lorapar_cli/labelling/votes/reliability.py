"""How far votes can be trusted: agreement between teachers, and each teacher's reliability.

Votes are the uint8 arrays of `labelling.votes.voting`, `[rows, teachers]`. Everything here depends
only on how often each row of votes occurs, so equal rows may be given once, with `counts`, int64
`[rows]`, the number of records with these votes.
"""

from dataclasses import dataclass

import numpy as np

from lorapar_cli.labelling.votes.voting import (
    SYSTEM1,
    SYSTEM2,
    UNDECIDED,
    Labels,
    Votes,
    count_votes,
)

_MAX_ROUNDS = 200
_TOLERANCE = 1e-9
_SMOOTHING = 0.5


def pairwise_agreement(votes: Votes, counts: np.ndarray) -> np.ndarray:
    """Returns how often two teachers agree, of the records on which both voted.

    float64 `[teachers, teachers]`; NaN for two teachers without a common record.
    """
    one, two = (votes == SYSTEM1).astype(np.float64), (votes == SYSTEM2).astype(np.float64)
    weights = counts.astype(np.float64)[:, None]
    same = one.T @ (one * weights) + two.T @ (two * weights)
    both = (one + two).T @ ((one + two) * weights)
    return np.divide(same, both, out=np.full(same.shape, np.nan), where=both > 0)


def krippendorff_alpha(votes: Votes, counts: np.ndarray) -> float | None:
    """Returns Krippendorff's alpha for nominal data: 1 agreement, 0 chance, negative below chance.

    Missing votes are allowed. None where it is undefined: no record has two votes, or all votes
    are the same label.

    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), nominal metric.
    """
    first, second = (count.astype(np.float64) for count in count_votes(votes))
    cast = first + second
    pairable = cast >= 2
    first, second, cast = first[pairable], second[pairable], cast[pairable]
    weights = counts[pairable].astype(np.float64)
    total, ones, twos = cast @ weights, first @ weights, second @ weights
    if ones == 0 or twos == 0:
        return None
    observed = (2 * first * second / (cast - 1)) @ weights / total
    expected = 2 * ones * twos / (total * (total - 1))
    return float(1 - observed / expected)


@dataclass(frozen=True)
class Reliability:
    """What the Dawid-Skene model estimates from votes alone.

    Attributes:
        labels: uint8 `[rows]`, the more probable system; `UNDECIDED` at exactly one half.
        second: float64 `[rows]`, probability of System 2.
        share: Estimated share of System 2 among the records.
        hits: float64 `[teachers, 2]`, probability that a teacher says System 1 (2) of a record
            that is System 1 (2).
    """

    labels: Labels
    second: np.ndarray
    share: float
    hits: np.ndarray


def dawid_skene(votes: Votes, counts: np.ndarray) -> Reliability:
    """Returns each teacher's reliability and the labels weighted by it, by EM from the majority.

    Needs three teachers or more: votes of two do not show which of them errs. Smoothing by half a
    vote per cell keeps a teacher without errors from overruling all others.

    Source: Dawid and Skene, Maximum Likelihood Estimation of Observer Error-Rates (1979).
    """
    one, two = (votes == SYSTEM1).astype(np.float64), (votes == SYSTEM2).astype(np.float64)
    cast = one.sum(axis=1) + two.sum(axis=1)
    second = np.divide(two.sum(axis=1), cast, out=np.full(len(cast), 0.5), where=cast > 0)
    voted = cast > 0
    share, hits = 0.5, np.full((votes.shape[1], 2), 0.5)
    for _ in range(_MAX_ROUNDS):
        before = second
        share, hits = _maximise(one[voted], two[voted], second[voted], counts[voted])
        second = _expect(one, two, share, hits)
        if np.abs(second - before).max(initial=0.0) < _TOLERANCE:
            break
    second = np.where(voted, second, 0.5)
    labels = np.select([second > 0.5, second < 0.5], [SYSTEM2, SYSTEM1], UNDECIDED)
    return Reliability(labels.astype(np.uint8), second, share, hits)


def _maximise(
    one: np.ndarray, two: np.ndarray, second: np.ndarray, counts: np.ndarray
) -> tuple[float, np.ndarray]:
    first, second = (1 - second) * counts, second * counts
    share = (second.sum() + _SMOOTHING) / (counts.sum() + 2 * _SMOOTHING)
    right1, wrong1 = first @ one, first @ two
    right2, wrong2 = second @ two, second @ one
    hits = np.stack(
        [
            (right1 + _SMOOTHING) / (right1 + wrong1 + 2 * _SMOOTHING),
            (right2 + _SMOOTHING) / (right2 + wrong2 + 2 * _SMOOTHING),
        ],
        axis=1,
    )
    return float(share), hits


def _expect(one: np.ndarray, two: np.ndarray, share: float, hits: np.ndarray) -> np.ndarray:
    hit1, hit2 = hits[:, 0], hits[:, 1]
    log_first = np.log(1 - share) + one @ np.log(hit1) + two @ np.log(1 - hit1)
    log_second = np.log(share) + two @ np.log(hit2) + one @ np.log(1 - hit2)
    return 1 / (1 + np.exp(np.clip(log_first - log_second, -700, 700)))
