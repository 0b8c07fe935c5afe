"""Top sets of elements by cumulative importance; numpy only.

Importance is finite and not negative, so float32 values sort like their bits read as integers, the
keys. Two histograms, over the high and the low halves of the keys, find a cut: in linear time, in
memory independent of the number of elements, and without rounding, since sums are integers.

Differs: a plain cut accumulates in float64. Exact sums do not depend on the order of summation, so
the same elements are selected however the vector is split into tensors. theta, alpha and beta are
taken as the decimals that were written: 0.9 of ten equal elements is nine.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

import numpy as np

from lorapar_cli.plurals import counted, inflected

Keys = Callable[[], Iterable[np.ndarray]]
"""Each call iterates over the same vectors: 1-D uint32 keys, larger is more important."""

_BINS = 1 << 16
_LOW = np.uint32(0xFFFF)
_INFINITY_BITS = 0x7F800000


def as_fraction(share: float) -> Fraction:
    """Returns the decimal that a share was written as: 0.9 is 9/10, not the nearest binary."""
    return Fraction(repr(share))


def importance_keys(values: np.ndarray) -> np.ndarray:
    """Returns float32 importance as 1-D uint32 keys that sort alike.

    Raises:
        ValueError: Values are NaN, infinite or negative; the message says which and how many.
    """
    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
    keys = flat.view(np.uint32)
    if keys.size and keys.max() >= _INFINITY_BITS:
        for word, wrong in (("NaN", np.isnan), ("infinite", np.isinf), ("negative", _negative)):
            if count := int(wrong(flat).sum()):
                raise ValueError(
                    f"{count} of {counted(flat.size, 'value')} {inflected(count, 'is', 'are')} {word}"
                )
        return (flat + np.float32(0)).view(np.uint32)  # only a negative zero is left
    return keys


def _negative(flat: np.ndarray) -> np.ndarray:
    return flat < 0


@dataclass(frozen=True)
class Cutoff:
    """A top set: the elements whose key is above `key`, and the first `ties` of those at it.

    Attributes:
        size: Number of elements in the set.
    """

    key: int
    ties: int
    size: int


NOTHING = Cutoff(key=2**32 - 1, ties=0, size=0)


class TopSetMask:
    """Applies a cut to the vectors in order, which decides ties."""

    def __init__(self, cut: Cutoff) -> None:
        self._key = np.uint32(cut.key)
        self._ties = cut.ties

    def pick(self, keys: np.ndarray) -> np.ndarray:
        """Returns the mask of the next vector's elements, True for those in the set."""
        chosen = keys > self._key
        if self._ties:
            equal = np.flatnonzero(keys == self._key)[: self._ties]
            chosen[equal] = True
            self._ties -= len(equal)
        return chosen


def _weigh(key: int) -> int:
    """Returns the value of a float32 from its bits, in integer multiples of 2**-149."""
    exponent, mantissa = key >> 23, key & 0x7FFFFF
    return (mantissa | 0x800000) << (exponent - 1) if exponent else mantissa


class Ranking:
    """The elements of several vectors ranked by importance, as histograms of their keys.

    Args:
        keys: The vectors, iterated over once here and at most once per call of a method.
        sums: Whether to sum importance too, which `by_share`, `curve` and totals need.

    Attributes:
        elements: Number of elements.
    """

    def __init__(self, keys: Keys, sums: bool = True) -> None:
        self._keys = keys
        self._counts = np.zeros(_BINS, np.int64)
        low_sums = np.zeros(_BINS, np.int64)
        for vector in keys():
            high = _high(vector)
            self._counts += np.bincount(high, minlength=_BINS)
            if sums:
                low = (vector & _LOW).astype(np.float64)
                # Integers below 2**53 are exact in float64.
                low_sums += np.bincount(high, weights=low, minlength=_BINS).astype(np.int64)
        self.elements = int(self._counts.sum())
        self._low_counts: dict[int, np.ndarray] = {}
        self._bins = np.flatnonzero(self._counts)[::-1].tolist()
        # Keys of one bin share their exponent, so count and low halves give their sum.
        self._sums = {
            high: int(self._counts[high]) * _weigh(high << 16)
            + (int(low_sums[high]) << max((high >> 7) - 1, 0))
            for high in self._bins
        }

    @property
    def total(self) -> float:
        """The sum of all importance."""
        return math.ldexp(self.exact_total, -149)

    @property
    def exact_total(self) -> int:
        """The sum of all importance, in multiples of 2**-149."""
        return sum(self._sums.values())

    def bins(self) -> Iterator[tuple[int, int, int]]:
        """Yields high half, number of elements and exact sum of each bin, largest keys first."""
        return ((high, int(self._counts[high]), self._sums[high]) for high in self._bins)

    def shares_of_keys(self, high: int) -> np.ndarray:
        """Returns the share of the total of one element of each key in a bin, by its low half."""
        unit = math.ldexp(1 / self.exact_total, max((high >> 7) - 1, 0))
        return _weigh(high << 16) / self.exact_total + np.arange(_BINS) * unit

    def by_share(self, thetas: Sequence[float]) -> list[Cutoff]:
        """Returns, for each theta, the smallest top set whose importance reaches it.

        Elements are added by descending importance, equal ones in the vectors' order. theta = 1
        adds every element above 0. If the total is 0, the set is empty.

        Args:
            thetas: Shares of the total, 0 < theta <= 1.

        Source: LoRA-PAR Sec. 3, the cumulative importance threshold theta.
        """
        total = self.exact_total
        if not total:
            return [NOTHING] * len(thetas)
        places = [self._find_bin(as_fraction(theta) * total) for theta in thetas]
        low_counts = self.low_counts({high for high, _, _ in places})
        return [_finish_share(*place, low_counts[place[0]]) for place in places]

    def by_count(self, count: int) -> Cutoff:
        """Returns the top set of `count` elements, equal ones in the vectors' order."""
        if count <= 0:
            return NOTHING
        high, missing = _descend(self._counts, count)
        low, missing = _descend(self.low_counts({high})[high], missing)
        return Cutoff(high << 16 | low, missing, count)

    def by_fraction(self, share: float) -> Cutoff:
        """Returns the top `floor(share * elements)` elements."""
        return self.by_count(int(as_fraction(share) * self.elements))

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the cumulative shares of elements and of importance, bin by bin from the top."""
        total = self.exact_total
        taken = np.cumsum([self._counts[high] for high in self._bins])
        reached = list(accumulate(self._sums[high] for high in self._bins))
        return taken / self.elements, np.array([float(Fraction(part, total)) for part in reached])

    def _find_bin(self, wanted: Fraction) -> tuple[int, Fraction, int]:
        """Returns the bin where the sum is reached, what it must add, and the count above it."""
        # In integer multiples of the fraction's unit: arithmetic on fractions is slow.
        missing, unit = wanted.numerator, wanted.denominator
        taken = 0
        for high in self._bins:
            weight = self._sums[high] * unit
            if weight >= missing:
                return high, Fraction(missing, unit), taken
            missing -= weight
            taken += int(self._counts[high])
        raise AssertionError("a share of the total is reached by the total")

    def low_counts(self, bins: set[int]) -> dict[int, np.ndarray]:
        """Returns counts by the low half of the key, for keys with these high halves.

        Counts are cached, at 0.5 MB per bin.
        """
        new = bins - self._low_counts.keys()
        if new:
            self._low_counts |= self._count_low(new)
        return self._low_counts

    def _count_low(self, bins: set[int]) -> dict[int, np.ndarray]:
        counts = {high: np.zeros(_BINS, np.int64) for high in bins}
        first, last = min(bins) << 16, max(bins) << 16 | int(_LOW)
        for vector in self._keys():
            near = vector[(vector >= np.uint32(first)) & (vector <= np.uint32(last))]
            highs = _high(near)
            for high in bins:
                inside = near[highs == high]
                counts[high] += np.bincount((inside & _LOW).astype(np.intp), minlength=_BINS)
        return counts


def _high(vector: np.ndarray) -> np.ndarray:
    return (vector >> np.uint32(16)).astype(np.uint16)


def _finish_share(high: int, missing: Fraction, taken: int, low_counts: np.ndarray) -> Cutoff:
    """Returns the cut within the bin in which the sum is reached."""
    for low in np.flatnonzero(low_counts)[::-1].tolist():
        key, count = high << 16 | low, int(low_counts[low])
        if count * _weigh(key) >= missing:
            break
        missing -= count * _weigh(key)
        taken += count
    ties = math.ceil(missing / _weigh(key))
    return Cutoff(key, ties, taken + ties)


def _descend(counts: np.ndarray, missing: int) -> tuple[int, int]:
    """Returns the bin that holds the `missing`-th element from the top, and its place there."""
    reached = np.cumsum(counts[::-1])
    place = int(np.searchsorted(reached, missing))
    before = int(reached[place - 1]) if place else 0
    return len(counts) - 1 - place, missing - before


def random_keys(shape_sizes: Sequence[tuple[str, int]], seed: int, system: str) -> Keys:
    """Returns keys drawn uniformly, to choose as many elements at random.

    Args:
        shape_sizes: Name and number of elements of each vector, in order.
        seed: Determines the keys together with system and name, in any order of the vectors.

    Source: LoRA-PAR Tab. 3, random choice of as many elements.
    """

    def draw() -> Iterator[np.ndarray]:
        for name, size in shape_sizes:
            digest = hashlib.sha256(f"{seed} {system} {name}".encode()).digest()
            bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
            yield bits.random_raw(-(-size // 2)).view(np.uint32)[:size]

    return draw
