"""Chance that depends on names and a seed, never on order: held-out records and random splits."""

import hashlib

import numpy as np


def draw(name: str, seed: int, purpose: str) -> int:
    """Returns a uniform 64-bit number that is the same for the same name, seed and purpose."""
    text = f"{purpose}\n{seed}\n{name}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def held_out_count(total: int, share: float, most: int) -> int:
    """Returns how many of `total` records to hold out: the share, rounded, at most `most`."""
    return min(int(share * total + 0.5), most, max(total - 1, 0))


def choose_held_out(draws: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Returns which records are held out, bool `[records]`.

    Groups are taken whole in the order of their smallest draw, as long as they fit: a question
    that stands in the data twice must not be both trained on and tested.

    Args:
        draws: uint64 `[records]`, uniform.
        groups: uint64 `[records]`; records with the same value belong together.
        count: Most records to hold out; fewer where the last groups do not fit.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    smallest = np.full(len(sizes), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, group, draws)
    chosen = np.zeros(len(sizes), dtype=bool)
    left = count
    for candidate in np.argsort(smallest, kind="stable"):
        if left == 0:
            break
        if sizes[candidate] <= left:
            chosen[candidate] = True
            left -= sizes[candidate]
    return chosen[group]


def choose_share(draws: np.ndarray, share: float) -> np.ndarray:
    """Returns which records belong to a random share, bool `[records]`: `round(share * n)` true."""
    chosen = np.zeros(len(draws), dtype=bool)
    chosen[np.argsort(draws, kind="stable")[: int(share * len(draws) + 0.5)]] = True
    return chosen
