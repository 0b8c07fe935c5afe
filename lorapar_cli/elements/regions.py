"""Regions of two top sets, and which of their elements are active."""

from collections.abc import Iterable, Sequence

import numpy as np

from lorapar_cli.elements.top_sets import EVERYTHING, NOTHING, Cutoff, Keys, Ranking, TopSetMask
from lorapar_cli.names import Flag, Region


def shared_cut(
    keys1: Keys, keys2: Keys, cut1: Cutoff, cut2: Cutoff, share: float, by: int
) -> Cutoff:
    """Returns the cut for the top `floor(share * n)` of the n shared elements.

    Args:
        share: alpha (by System 1) or beta (by System 2), 0 to 1.
        by: The system whose importance ranks the shared elements, 1 or 2.
    """
    if share in (0, 1):
        return EVERYTHING if share else NOTHING

    def shared() -> Iterable[np.ndarray]:
        pick1, pick2 = TopSetMask(cut1).pick, TopSetMask(cut2).pick
        for vector1, vector2 in zip(keys1(), keys2(), strict=True):
            yield (vector1, vector2)[by - 1][pick1(vector1) & pick2(vector2)]

    ranking = Ranking(shared, sums=False)
    return ranking.by_fraction(share)


class Partition:
    """Turns the two systems' keys into flags, vector by vector, in order.

    Args:
        cut1, cut2: The systems' top sets.
        active1, active2: Cuts among the shared elements: those active in SFT and in RL.
    """

    def __init__(self, cut1: Cutoff, cut2: Cutoff, active1: Cutoff, active2: Cutoff) -> None:
        self._top = TopSetMask(cut1), TopSetMask(cut2)
        self._active = TopSetMask(active1), TopSetMask(active2)

    def flags(self, keys1: np.ndarray, keys2: np.ndarray) -> np.ndarray:
        """Returns the `Flag` bits of a vector's elements, uint8.

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


def sweep(
    keys1: Keys, keys2: Keys, cuts1: Sequence[Cutoff], cuts2: Sequence[Cutoff]
) -> list[dict[str, int]]:
    """Returns the region sizes for each pair of cuts, from one pass over the elements.

    Args:
        cuts1, cuts2: The systems' top sets, in pairs, smallest first; each contains the previous.
    """
    pickers = [[TopSetMask(cut) for cut in cuts] for cuts in (cuts1, cuts2)]
    base = len(cuts1) + 1
    joint = np.zeros(base * base, np.int64)
    for vectors in zip(keys1(), keys2(), strict=True):
        # The sets are nested: the number that an element is in tells which ones, the largest.
        depth = [
            sum(picker.pick(vector).astype(np.uint16) for picker in own)
            for own, vector in zip(pickers, vectors, strict=True)
        ]
        joint += np.bincount(depth[0] * np.uint16(base) + depth[1], minlength=base * base)
    counts = joint.reshape(base, base)
    rows = []
    for place in range(len(cuts1)):
        outside = base - 1 - place  # smaller depths are outside the set at `place`
        rows.append(
            {
                Region.S1_ONLY.value: int(counts[outside:, :outside].sum()),
                Region.S2_ONLY.value: int(counts[:outside, outside:].sum()),
                Region.SHARED.value: int(counts[outside:, outside:].sum()),
                Region.UNSELECTED.value: int(counts[:outside, :outside].sum()),
            }
        )
    return rows
