"""Votes: counted, and what they decide.

Votes are a uint8 array `[records, teachers]` of the codes below; labels a uint8 array `[records]`
of `SYSTEM1`, `SYSTEM2` or `UNDECIDED`.
"""

import numpy as np

from lorapar_cli.names import System

UNASKED = 0
SYSTEM1 = 1
SYSTEM2 = 2
NO_VOTE = 3

UNDECIDED = 0

Votes = np.ndarray
Labels = np.ndarray


def count_votes(votes: Votes) -> tuple[np.ndarray, np.ndarray]:
    """Returns how many teachers voted System 1 and System 2, each int64 `[records]`."""
    return (votes == SYSTEM1).sum(axis=1), (votes == SYSTEM2).sum(axis=1)


def majority(votes: Votes) -> Labels:
    """Returns the majority's label; `UNDECIDED` for ties and records without votes.

    Source: LoRA-PAR Sec. 3.1 (majority vote of the role-playing teachers).
    """
    first, second = count_votes(votes)
    return np.select([first > second, second > first], [SYSTEM1, SYSTEM2], UNDECIDED).astype(
        np.uint8
    )


def agreement(votes: Votes, labels: Labels) -> np.ndarray:
    """Returns the share of the votes cast for the label, float64 `[records]`, NaN without votes.

    For undecided records it is the larger of the two shares.
    """
    first, second = count_votes(votes)
    cast = first + second
    winning = np.select(
        [labels == SYSTEM1, labels == SYSTEM2], [first, second], np.maximum(first, second)
    )
    return np.divide(winning, cast, out=np.full(len(cast), np.nan), where=cast > 0)


def cannot_change(votes: Votes, waiting: np.ndarray, ties_to: int) -> np.ndarray:
    """Returns where the label can no longer change, whatever the remaining teachers vote.

    Args:
        votes: The votes so far; codes other than a system's count as no vote.
        waiting: Number of teachers still to be asked, int `[records]`.
        ties_to: What a tie becomes: a system, or `UNDECIDED` for neither.
    """
    first, second = count_votes(votes)
    first_wins = first + (ties_to == SYSTEM1) > second + waiting
    second_wins = second + (ties_to == SYSTEM2) > first + waiting
    return first_wins | second_wins


CODES = {System.SYSTEM1: SYSTEM1, System.SYSTEM2: SYSTEM2, None: NO_VOTE}
