"""Chance that depends on names and a seed, never on order: held-out records and random splits."""

import hashlib
from collections.abc import Iterable, Iterator


def draw(name: str, seed: int, purpose: str) -> int:
    """Returns a uniform 64-bit number that is the same for the same name, seed and purpose."""
    text = f"{purpose}\n{seed}\n{name}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def share_count(total: int, share: float) -> int:
    """Returns how many of `total` records a share of them is, rounded."""
    return int(share * total + 0.5)


def held_out_count(total: int, share: float, most: int) -> int:
    """Returns how many of `total` records to hold out: the share, rounded, at most `most`."""
    return min(share_count(total, share), most, max(total - 1, 0))


def choose_held_out(groups: Iterable[tuple[int, int]], count: int) -> Iterator[int]:
    """Yields the groups of records that are held out.

    Groups are taken whole, as long as they fit: a question that stands in the data twice must not
    be both trained on and tested.

    Args:
        groups: Each group's name and size, in the order of the smallest draw among its records.
        count: Most records to hold out; fewer where the last groups do not fit.
    """
    left = count
    for group, size in groups:
        if left == 0:
            return
        if size <= left:
            left -= size
            yield group
