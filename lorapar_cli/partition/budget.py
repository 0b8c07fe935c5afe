"""The largest theta whose two top sets together have at most a given number of elements.

A system's top set at theta is the smallest prefix of its elements, in order of importance, whose
sum reaches theta of the total. So each element enters at a theta of its own, the first above the
share of what precedes it, and belongs to the union from the smaller of its two thetas on. Counts of
elements by that theta, from histograms of their keys, give the theta of a budget without one cut
per candidate: first coarsely, between a lower and an upper bound, then by key among the elements
that the bounds leave open. Elements of equal importance that remain are resolved by cuts. numpy
only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lorapar_cli.elements.regions import sweep
from lorapar_cli.elements.top_sets import Keys, Ranking
from lorapar_cli.names import Region

STEPS = 10**6
"""Resolution of theta: it is a whole number of millionths."""

_GROUPS = 256
_WIDTH = 1 << 16
_TRIED = 16
_LOW = 0xFFFF
_NO_KEY = 2**32 - 1
# In millionths, far above the rounding error of a sum of 65,536 shares in float64.
_SLACK = 1e-4


def steps_of_budget(keys1: Keys, keys2: Keys, rankings: Sequence[Ranking], budget: int) -> int:
    """Returns the largest theta, in millionths, whose union of the two sets is within the budget.

    Args:
        rankings: Of these keys; neither total is zero.

    Returns:
        0 to 10**6; 0 where even one millionth selects more elements.
    """
    low, high = _bracket(keys1, keys2, rankings, budget)
    while low < high:
        step = -(-(high - low) // _TRIED)
        tried = sorted({*range(low + step, high + 1, step), high})
        thetas = [steps / STEPS for steps in tried]
        rows = sweep(keys1, keys2, *(ranking.by_share(thetas) for ranking in rankings))
        elements = rankings[0].elements
        fits = [elements - row[Region.UNSELECTED] <= budget for row in rows]
        if all(fits):
            return high
        first = fits.index(False)
        low, high = (tried[first - 1] if first else low), tried[first] - 1
    return low


def _bracket(keys1: Keys, keys2: Keys, rankings: Sequence[Ranking], budget: int) -> tuple[int, int]:
    """Returns a lower and an upper bound of the largest steps within the budget."""
    spans = [_Spans(ranking) for ranking in rankings]
    joint = np.zeros(_GROUPS * _GROUPS, np.int64)
    for vectors in zip(keys1(), keys2(), strict=True):
        first, second = (
            span.groups[vector >> np.uint32(16)]
            for span, vector in zip(spans, vectors, strict=True)
        )
        joint += np.bincount(first.astype(np.uint16) << 8 | second, minlength=joint.size)
    bounds = [
        np.minimum.outer(*(getattr(span, f"group_{end}") for span in spans)).ravel()
        for end in ("first", "last")
    ]
    low, high = (_most(entry, joint, budget) for entry in bounds)
    if low == high:
        return low, high
    return _narrow(keys1, keys2, [span.open(low, high) for span in spans], budget, low, high)


def _most(entry: np.ndarray, counts: np.ndarray, budget: int) -> int:
    """Returns the largest steps at which at most as many elements as the budget have entered."""
    order = np.argsort(entry, kind="stable")
    reached = np.cumsum(counts[order])
    beyond = int(np.searchsorted(reached, budget, side="right"))
    return STEPS if beyond == len(order) else min(int(entry[order[beyond]]) - 1, STEPS)


class _Spans:
    """When the elements of a ranking's bins enter the top set, by bin and by groups of bins.

    Attributes:
        groups: Bin -> group, uint8; groups are of about equal importance and number.
        group_first, group_last: Bounds of the steps at which a group's elements enter.
    """

    def __init__(self, ranking: Ranking) -> None:
        self._ranking = ranking
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._before: dict[int, float] = {}
        self.groups = np.zeros(_WIDTH, np.uint8)
        # A group without elements adds nothing, whatever its bounds.
        self.group_first = np.full(_GROUPS, STEPS + 1, np.int64)
        self.group_last = np.zeros(_GROUPS, np.int64)
        before = taken = 0
        whole = ranking.exact_total
        for high, count, weight in ranking.bins():
            self._before[high] = before / whole
            place = (before / whole + taken / ranking.elements) / 2
            group = min(int(_GROUPS * place), _GROUPS - 1)
            self._first[high] = before * STEPS // whole + 1
            before, taken = before + weight, taken + count
            self._last[high] = before * STEPS // whole + 1
            self.groups[high] = group
            self.group_first[group] = min(self.group_first[group], self._first[high])
            self.group_last[group] = max(self.group_last[group], self._last[high])

    def open(self, low: int, high: int) -> "_Open":
        """Returns which elements have entered by `low`, and when those in between enter."""
        inside = [b for b in self._first if self._last[b] > low and self._first[b] <= high]
        # The keys of a bin whose elements all enter at one step need not be read. So few bins are
        # read, however many have next to no importance.
        split = [b for b in inside if self._first[b] < self._last[b]]
        counts = self._ranking.low_counts(set(split))
        offsets, masks = np.zeros(_WIDTH, np.int64), np.zeros(_WIDTH, np.uint32)
        masks[split] = _LOW
        sizes = np.where(np.isin(inside, split), _WIDTH, 1)
        offsets[inside] = np.cumsum(sizes) - sizes
        first, last = (np.empty(sizes.sum(), np.int32) for _ in range(2))
        for place in inside:
            ends = slice(offsets[place], offsets[place] + (_WIDTH if masks[place] else 1))
            first[ends], last[ends] = self._first[place], self._last[place]
            if masks[place]:
                first[ends], last[ends] = self._by_key(place, counts[place])
        for table in (first, last):
            np.clip(table, low + 1, high + 1, out=table)
        entered = min((b << 16 for b in self._first if self._last[b] <= low), default=_NO_KEY)
        floor = min(inside) << 16 if inside else entered
        return _Open(np.uint32(entered), np.uint32(floor), offsets, masks, first, last)

    def _by_key(self, high: int, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns bounds of the steps at which a bin's elements enter, by lower half of the key."""
        weights = (counts * self._ranking.shares_of_keys(high))[::-1] * STEPS
        ends = self._before[high] * STEPS + np.cumsum(weights)
        first = np.floor(ends - weights - _SLACK) + 1
        last = np.floor(ends + _SLACK) + 1
        return first[::-1], last[::-1]


@dataclass(frozen=True)
class _Open:
    """When a system's elements enter, within a range of steps.

    Attributes:
        entered: Keys of at least this value have entered before the range.
        floor: Keys below this value enter after the range.
        offsets, masks: Bin -> start of its part of the tables, and the bits of the key that are
            the index into that part.
        first, last: Bounds of the steps at which elements enter.
    """

    entered: np.uint32
    floor: np.uint32
    offsets: np.ndarray
    masks: np.ndarray
    first: np.ndarray
    last: np.ndarray

    def enter(self, keys: np.ndarray, outside: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns both bounds for keys below `entered`; `outside` for those below `floor`."""
        known = np.flatnonzero(keys >= self.floor)
        inside = keys[known]
        bins = inside >> np.uint32(16)
        places = self.offsets[bins] + (inside & self.masks[bins])
        bounds = []
        for table in (self.first, self.last):
            entry = np.full(keys.size, outside, np.int32)
            entry[known] = table[places]
            bounds.append(entry)
        return bounds[0], bounds[1]


def _narrow(
    keys1: Keys, keys2: Keys, systems: Sequence[_Open], budget: int, low: int, high: int
) -> tuple[int, int]:
    """Returns the narrowest bracket that keys can give, without regard to ties."""
    entered = 0
    counts = np.zeros((2, high - low + 1), np.int64)  # by steps from low + 1 to high + 1
    for vectors in zip(keys1(), keys2(), strict=True):
        certain = [v >= system.entered for system, v in zip(systems, vectors, strict=True)]
        maybe = [v >= system.floor for system, v in zip(systems, vectors, strict=True)]
        inside = certain[0] | certain[1]
        entered += int(np.count_nonzero(inside))
        left = np.flatnonzero((maybe[0] | maybe[1]) & ~inside)
        ways = [s.enter(v[left], high + 1) for s, v in zip(systems, vectors, strict=True)]
        for bound in range(2):
            entry = np.minimum(ways[0][bound], ways[1][bound]) - (low + 1)
            counts[bound] += np.bincount(entry, minlength=counts.shape[1])
    steps = np.arange(low + 1, high + 2)
    most = [max(low, min(high, _most(steps, own, budget - entered))) for own in counts]
    return most[0], most[1]
