"""Replay: a share of the other system's records among those that a stage trains on."""

import random
from typing import TypeVar

Item = TypeVar("Item")


def mix_replay(own: list[Item], other: list[Item], share: float, seed: int) -> list[Item]:
    """Returns `own`, followed by as many of `other` as make up `share` of the result.

    Args:
        share: Fraction of the result that comes from `other`, 0 to below 1.
        seed: Decides which of `other`; they are sampled without replacement, all if too few.
    """
    wanted = replay_count(len(own), share)
    return own + random.Random(seed).sample(other, min(wanted, len(other)))


def replay_count(own: int, share: float) -> int:
    """Returns the number of replayed records that make up `share` of all, given `own` others."""
    return round(share / (1 - share) * own)
