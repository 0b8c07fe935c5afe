"""What `score` counts and measures."""

from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict


class ScoreCounts(TypedDict):
    """Records by system, and the size of the adapter.

    Keys:
        samples: System -> number of records that were scored on.
        too_long: System -> number of records passed over because of their length.
        elements: Number of elements of the adapter.
        matrices: Number of its LoRA matrices.
    """

    samples: dict[str, int]
    too_long: dict[str, int]
    elements: int
    matrices: int


NoiseVerdict = Literal["above", "barely", "not"]
"""Whether a third of the difference between the systems is beyond noise, less, or nothing."""


class Noise(TypedDict):
    """Agreement between the halves of the systems' samples, each figure at half of the samples.

    Keys:
        theta: Where the sets were cut.
        within1, within2: Jaccard of the two halves of one system.
        between: Mean Jaccard of a half of one system with a half of the other (four pairs).
        between_spread: Standard deviation of those four.
        chance: Jaccard of independent random sets of these sizes.
        rank_within1, rank_within2, rank_between: Spearman correlations of the same pairs.
        beyond: Share of the difference between the systems' sets, as Jaccard distance, that is
            not found between halves of one system.
        samples: Number of samples of the smaller system, both halves together.
        needed: Number of samples per system at which sampling noise would be half of the
            difference between the systems (`scoring.split_half.samples_needed`); None where that
            cannot be extrapolated.
    """

    theta: float
    within1: float
    within2: float
    between: float
    between_spread: float
    chance: float
    rank_within1: float
    rank_within2: float
    rank_between: float
    beyond: float
    samples: int
    needed: int | None
    verdict: NoiseVerdict


class ScoreMetrics(TypedDict):
    """What was measured of the adapter, and by system where gradients were computed.

    Keys:
        step0_logit_difference: Largest change of a logit by the adapter before training.
        step0_largest_logit: Largest absolute logit of the base model, for comparison.
        loss_system1, loss_system2: Mean over samples of their mean cross-entropy, in nats.
        seconds_system1, seconds_system2: Time of the pass over the samples.
        noise: Present where gradients were computed.
    """

    step0_logit_difference: float
    step0_largest_logit: float
    loss_system1: NotRequired[float]
    seconds_system1: NotRequired[float]
    loss_system2: NotRequired[float]
    seconds_system2: NotRequired[float]
    noise: NotRequired[Noise]


@dataclass(frozen=True)
class ScoreRecord:
    """What `score` counts and measures."""

    counts: ScoreCounts
    metrics: ScoreMetrics
