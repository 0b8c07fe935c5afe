"""Intervals, tests and estimates: Wilson, paired differences, McNemar, pass@k, maj@k."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lorapar_cli.grading.answers import normalize_answer

# The normal distribution's 97.5 % point.
Z95 = 1.959963984540054


def wilson_interval(correct: float, n: int) -> tuple[float, float]:
    """Returns the 95 % Wilson score interval of `correct` of `n` items; (0, 1) where n is 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = correct / n, Z95**2
    center = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At 0 and n the exact bounds are 0 and 1, which rounding would miss.
    return (
        0.0 if correct == 0 else center - half,
        1.0 if correct == n else center + half,
    )


@dataclass(frozen=True)
class PairedDifference:
    """Two models on the same items.

    Attributes:
        n: Number of items.
        only_first: Items that only the first model gets right.
        only_second: Items that only the second model gets right.
        difference: Accuracy of the first minus accuracy of the second, -1 to 1.
        low, high: 95 % interval of the difference.
        p_value: Exact two-sided McNemar test of no difference.
    """

    n: int
    only_first: int
    only_second: int
    difference: float
    low: float
    high: float
    p_value: float


def paired_difference(first: Sequence[bool], second: Sequence[bool]) -> PairedDifference:
    """Returns how two models differ on the same items, in the same order.

    The interval is Bonett and Price's (2012): the normal interval with one item added to each side,
    which keeps its coverage where few items differ.

    Args:
        first, second: Whether each item is correct.
    """
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    n = len(first)
    share_first, share_second = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    center = share_first - share_second
    half = Z95 * math.sqrt((share_first + share_second - center**2) / (n + 2))
    return PairedDifference(
        n=n,
        only_first=only_first,
        only_second=only_second,
        difference=(only_first - only_second) / n if n else 0.0,
        low=max(-1.0, center - half),
        high=min(1.0, center + half),
        p_value=mcnemar_exact(only_first, only_second),
    )


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Returns the exact two-sided p-value that both kinds of disagreement are equally likely."""
    n = only_first + only_second
    term, tail = 1, 1
    for i in range(min(only_first, only_second)):
        term = term * (n - i) // (i + 1)
        tail += term
    return min(1.0, 2 * tail / 2**n)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Returns the unbiased estimate that one of `k` samples is correct, from `n` samples.

    1 - C(n - correct, k) / C(n, k). Source: Chen et al., 2021 (HumanEval), equation 1.

    Raises:
        ValueError: k is larger than n.
    """
    if k > n:
        raise ValueError(f"pass@{k} needs at least {k} samples, there are {n}")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def majority_answer(answers: Sequence[str | None]) -> str | None:
    """Returns the most frequent answer, as it was first spelled; the first one among ties.

    Samples without an answer do not vote.
    """
    seen: dict[str, list[str]] = {}
    for answer in answers:
        if answer is not None:
            seen.setdefault(normalize_answer(answer), []).append(answer)
    return max(seen.values(), key=len)[0] if seen else None
