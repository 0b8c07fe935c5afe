"""Regions of two top sets, and which of their elements are active."""

from collections.abc import Iterable, Sequence

import numpy as np

from lorapar_cli.elements.top_sets import Cutoff, Keys, Ranking, TopSetMask
from lorapar_cli.names import Flag, Region

_BOTH = np.uint8(Flag.TOP1 | Flag.TOP2)


def mark_top(flags: Iterable[np.ndarray], keys: Keys, cut: Cutoff, top: Flag) -> None:
    """Sets a system's bit for the elements of its top set.

    Args:
        flags: 1-D uint8 vectors like those of `keys`, changed in place.
        top: `Flag.TOP1` or `Flag.TOP2`.
    """
    picker = TopSetMask(cut)
    for vector, own in zip(flags, keys(), strict=True):
        _set(vector, picker.pick(own), top)


def mark_active(
    flags: Sequence[np.ndarray], keys: Keys, share: float, top: Flag, active: Flag
) -> None:
    """Sets a stage's bit for its system's own region and a share of the shared elements.

    Args:
        flags: 1-D uint8 vectors like those of `keys`, with both systems' top sets; changed in
            place.
        keys: Importance for the stage's system, which ranks the shared elements.
        share: alpha or beta, 0 to 1: the top `floor(share * n)` of the n shared elements.
        top: Bit of the stage's system.
        active: `Flag.SFT` or `Flag.RL`.

    Source: LoRA-PAR Sec. 3: SFT trains S1-only and the alpha part of shared, RL S2-only and the
    beta part.
    """
    if share == 1:
        for vector in flags:
            _set(vector, (vector & np.uint8(top)) != 0, active)
        return
    for vector in flags:
        _set(vector, (vector & _BOTH) == np.uint8(top), active)
    if not share:
        return

    def shared() -> Iterable[np.ndarray]:
        for vector, own in zip(flags, keys(), strict=True):
            yield own[(vector & _BOTH) == _BOTH]

    picker = TopSetMask(Ranking(shared, sums=False).by_fraction(share))
    for vector, own in zip(flags, shared(), strict=True):
        places = np.flatnonzero((vector & _BOTH) == _BOTH)
        vector[places[picker.pick(own)]] |= np.uint8(active)


def _set(flags: np.ndarray, chosen: np.ndarray, bit: Flag) -> None:
    """Sets a bit of the chosen elements, in place."""
    np.bitwise_or(flags, np.uint8(bit), out=flags, where=chosen)


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
