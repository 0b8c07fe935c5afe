"""Replay: a share of other records among those that a stage trains on."""

import random
from typing import TypeVar

Item = TypeVar("Item")


def draw_replay(own: list[Item], other: list[Item], share: float, seed: int) -> list[Item]:
    """Returns as many of `other` as make up `share` of them and `own` together.

    Args:
        share: 0 to below 1.
        seed: Decides which of `other`; they are sampled without replacement, all if too few.
    """
    wanted = replay_count(len(own), share)
    return random.Random(seed).sample(other, min(wanted, len(other)))


def replay_count(own: int, share: float) -> int:
    """Returns the number of replayed records that make up `share` of all, given `own` others."""
    return round(share / (1 - share) * own)
