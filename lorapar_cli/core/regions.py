"""Top sets of elements by cumulative importance, and the regions of two such sets; numpy only.

Importance is finite and not negative, so the bits of a float32, read as an integer, are in the
same order as its value. A cut is found by two histograms over halves of these bits: linear time,
memory independent of the number of elements, and no rounding, since sums are kept as integers.

Differs: DESIGN.md accumulates in float64. Exact sums do not depend on the order of summation, so
that the same elements are selected however the vector is cut into tensors; theta, alpha and beta
are taken as the decimals that are written (0.9 of ten equal elements is nine).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lorapar_cli.names import Flag

Keys = Callable[[], Iterable[np.ndarray]]
"""Every call goes through the same vectors again: 1-D uint32 keys, larger is more important."""

_BINS = 1 << 16
_INFINITY_BITS = 0x7F800000


def as_fraction(share: float) -> Fraction:
    """Returns the decimal that a share was written as: 0.9 is 9/10, not the nearest binary."""
    return Fraction(repr(share))


def importance_keys(values: np.ndarray) -> np.ndarray:
    """Returns float32 importance as flat uint32 keys in the same order.

    Raises:
        ValueError: A value is NaN, infinite or negative; the message says which and how many.
    """
    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
    keys = flat.view(np.uint32)
    if keys.size and keys.max() >= _INFINITY_BITS:
        for word, wrong in (("NaN", np.isnan), ("infinite", np.isinf), ("negative", _negative)):
            if count := int(wrong(flat).sum()):
                raise ValueError(f"{count} of {flat.size} values are {word}")
        return (flat + np.float32(0)).view(np.uint32)  # only a negative zero is left
    return keys


def _negative(flat: np.ndarray) -> np.ndarray:
    return flat < 0


@dataclass(frozen=True)
class Cut:
    """A top set: the elements whose key is above `key`, and the first `ties` of those at it.

    Attributes:
        size: Number of elements in the set.
    """

    key: int
    ties: int
    size: int


NOTHING = Cut(key=2**32 - 1, ties=0, size=0)


class Picker:
    """Applies a cut to the vectors in order; ties are decided by that order."""

    def __init__(self, cut: Cut) -> None:
        self._key = np.uint32(cut.key)
        self._ties = cut.ties

    def pick(self, keys: np.ndarray) -> np.ndarray:
        """Returns the boolean mask of the vector's elements that are in the set."""
        chosen = keys > self._key
        if self._ties:
            equal = np.flatnonzero(keys == self._key)[: self._ties]
            chosen[equal] = True
            self._ties -= len(equal)
        return chosen


def _weigh(key: int) -> int:
    """Returns a float32's value from its bits, as an integer count of 2**-149."""
    exponent, mantissa = key >> 23, key & 0x7FFFFF
    return (mantissa | 0x800000) << (exponent - 1) if exponent else mantissa


def _high_histogram(keys: Keys, sums: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns counts and sums of the low halves, by the high half of the key."""
    counts = np.zeros(_BINS, np.int64)
    low_sums = np.zeros(_BINS, np.int64)
    for vector in keys():
        high = (vector >> np.uint32(16)).astype(np.intp)
        counts += np.bincount(high, minlength=_BINS)
        if sums:
            low = (vector & np.uint32(0xFFFF)).astype(np.float64)
            # Whole numbers below 2**53 are exact in float64.
            low_sums += np.bincount(high, weights=low, minlength=_BINS).astype(np.int64)
    return counts, low_sums


def _low_histogram(keys: Keys, high: int) -> np.ndarray:
    """Returns counts by the low half of the key, of the keys with that high half."""
    counts = np.zeros(_BINS, np.int64)
    for vector in keys():
        inside = vector[(vector >> np.uint32(16)) == high]
        counts += np.bincount((inside & np.uint32(0xFFFF)).astype(np.intp), minlength=_BINS)
    return counts


def cut_by_share(keys: Keys, theta: float) -> Cut:
    """Returns the smallest top set whose importance reaches theta of the total.

    Elements are taken by importance, largest first, equal ones in the vectors' order. theta = 1
    takes every element above 0. Where the total is 0 the set is empty.

    Args:
        keys: Keys of `importance_keys`.
        theta: 0 < theta <= 1.

    Source: LoRA-PAR Sec. 3, the cumulative importance threshold theta.
    """
    counts, low_sums = _high_histogram(keys, sums=True)
    bins = np.flatnonzero(counts)[::-1].tolist()
    # All keys of a bin have one exponent, so that their sum follows from count and low halves.
    sums = {
        high: (int(counts[high]) * _weigh(high << 16))
        + (int(low_sums[high]) << max((high >> 7) - 1, 0))
        for high in bins
    }
    missing = as_fraction(theta) * sum(sums.values())
    if missing == 0:
        return NOTHING
    taken = 0
    for high in bins:
        if sums[high] >= missing:
            break
        missing -= sums[high]
        taken += int(counts[high])
    low_counts = _low_histogram(keys, high)
    for low in np.flatnonzero(low_counts)[::-1].tolist():
        key, count = high << 16 | low, int(low_counts[low])
        if count * _weigh(key) >= missing:
            break
        missing -= count * _weigh(key)
        taken += count
    ties = -(-missing // _weigh(key))
    return Cut(key, int(ties), taken + int(ties))


def cut_by_count(keys: Keys, count: int) -> Cut:
    """Returns the top set of `count` elements, equal ones in the vectors' order."""
    if count <= 0:
        return NOTHING
    counts, _ = _high_histogram(keys, sums=False)
    high, missing = _descend(counts, count)
    low, missing = _descend(_low_histogram(keys, high), missing)
    return Cut(high << 16 | low, missing, count)


def _descend(counts: np.ndarray, missing: int) -> tuple[int, int]:
    """Returns the bin, from the top, that holds the `missing`-th element, and its place in it."""
    reached = np.cumsum(counts[::-1])
    place = int(np.searchsorted(reached, missing))
    before = int(reached[place - 1]) if place else 0
    return len(counts) - 1 - place, missing - before


def shared_cut(keys1: Keys, keys2: Keys, cut1: Cut, cut2: Cut, share: float, by: int) -> Cut:
    """Returns the top `floor(share * n)` of the n shared elements by one system's importance.

    Args:
        share: alpha (by System 1) or beta (by System 2), 0 to 1.
        by: 1 or 2, the system whose importance ranks.
    """

    def shared() -> Iterable[np.ndarray]:
        pick1, pick2 = Picker(cut1).pick, Picker(cut2).pick
        for vector1, vector2 in zip(keys1(), keys2(), strict=True):
            yield (vector1, vector2)[by - 1][pick1(vector1) & pick2(vector2)]

    size = sum(len(vector) for vector in shared())
    return cut_by_count(shared, int(as_fraction(share) * size))


class Partition:
    """Turns the two systems' keys into flags, vector by vector in order.

    Args:
        cut1, cut2: The systems' top sets.
        active1, active2: The shared elements active in SFT and RL, as cuts among the shared ones.
    """

    def __init__(self, cut1: Cut, cut2: Cut, active1: Cut, active2: Cut) -> None:
        self._top = Picker(cut1), Picker(cut2)
        self._active = Picker(active1), Picker(active2)

    def flags(self, keys1: np.ndarray, keys2: np.ndarray) -> np.ndarray:
        """Returns the elements' `Flag` bits, uint8.

        Source: LoRA-PAR Sec. 3: SFT trains S1-only and the alpha part of shared, RL S2-only and
        the beta part.
        """
        top = [picker.pick(keys) for picker, keys in zip(self._top, (keys1, keys2), strict=True)]
        shared = np.flatnonzero(top[0] & top[1])
        flags = top[0] * np.uint8(Flag.TOP1 | Flag.SFT) + top[1] * np.uint8(Flag.TOP2 | Flag.RL)
        for bit, picker, keys in zip(
            (Flag.SFT, Flag.RL), self._active, (keys1, keys2), strict=True
        ):
            active = picker.pick(keys[shared])
            flags[shared[~active]] &= np.uint8(~bit & 0xFF)
        return flags
