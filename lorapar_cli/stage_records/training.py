"""What `train-sft` and `train-rl` count and measure."""

from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

from lorapar_cli.stage_records.forgetting import StageForgetting


class LaunchMetrics(TypedDict):
    """How a training stage was launched: number of processes, name of the engine."""

    processes: int
    engine: str


RateSource = Literal["default", "given", "found"]
"""Where a learning rate comes from."""


class RateTrial(TypedDict):
    """A point of the curve of a search for a learning rate.

    Keys:
        rate: Learning rate of the short training.
        value: Mean of what is measured; None where training diverged.
        behind: How much worse than the best rate, the mean of pairs.
        error: Standard error of that.
    """

    rate: float
    value: float | None
    behind: float | None
    error: float | None


class RateSearch(TypedDict):
    """What `--find-lr` found.

    Keys:
        rate: The rate that the stage trained with.
        reason: Why, in words.
        found: Whether a rate helped; the default was used where none did.
        measure: What was measured: `loss` or `reward`.
        held_out: Number of records or prompts that it was measured on.
        steps: Optimizer steps of each trial.
        untrained: The measure before training.
        curve: The trials, by ascending rate.
        seconds: Of all trials, those of interrupted runs included.
        belongs_to: Digest of the run's settings and inputs, which every trial is bound to.
    """

    rate: float
    reason: str
    found: bool
    measure: str
    held_out: int
    steps: int
    untrained: float
    curve: list[RateTrial]
    seconds: float
    belongs_to: str


class RateMetrics(TypedDict, total=False):
    """The learning rate of a training stage, and where it comes from; earlier runs have neither."""

    learning_rate: float
    learning_rate_from: RateSource
    rate_search: RateSearch


class ValidationPoint(TypedDict):
    """One evaluation of the validation part: loss in nats per token and accuracy, by system."""

    step: int
    loss: dict[str, float]
    accuracy: dict[str, float]


class StageValidation(TypedDict):
    """The evaluations of a training stage.

    Keys:
        records: System -> number of validation records.
        every: Steps between two evaluations.
        measure: By which figure of the stage's own systems steps are compared, `loss` or `accuracy`.
        points: The first evaluation, the best one and the last one; metrics.jsonl has all.
        best_step: None where the own systems have no such figure.
        published_step: The step whose adapter is the stage's result.
    """

    records: dict[str, int]
    every: int
    measure: str
    points: list[ValidationPoint]
    best_step: int | None
    published_step: int


class Watched(TypedDict, total=False):
    """What a training stage measured besides its steps."""

    forgetting: StageForgetting
    validation: StageValidation


class TrainedRecords(TypedDict):
    """What a training stage read.

    Keys:
        records: System -> number of records, those that are too long among them.
        trained_records: How many of all it trains on.
        replayed_records: How many of these are replayed; only where replay was asked for.
        validation_records: System -> number of records that were kept apart to validate on.
    """

    records: dict[str, int]
    trained_records: int
    replayed_records: NotRequired[int]
    validation_records: NotRequired[dict[str, int]]


class TrainedTokens(TrainedRecords):
    """The same of `train-sft`, and the tokens that contribute to the loss."""

    loss_tokens: int


class MaskedElements(TypedDict):
    """Elements that the mask covers, and those of them that the stage trains."""

    elements: int
    active: int


class MovedElements(MaskedElements):
    """The same, and how many were not bit-identical after training."""

    active_moved: int
    frozen_moved: int


class TrainingCounts(TrainedRecords, MovedElements):
    """What both training stages count."""


class SftCounts(TrainedTokens, MovedElements):
    """What `train-sft` counts."""


class ReplaySampling(TypedDict):
    """What sampling the base model's own answers took.

    Keys:
        asked: Records of the other system whose prompts were to be answered.
        answered: Those that are replayed.
        unfinished, empty, long_prompts: Those that are not, by reason.
        tokens: Of all answers.
        seconds: Of all batches, those of interrupted runs included.
        belongs_to: Digest of model, prompts and settings, which every answer is bound to.
    """

    asked: int
    answered: int
    unfinished: int
    empty: int
    long_prompts: int
    tokens: int
    seconds: float
    belongs_to: str


class SftFigures(TypedDict):
    """Optimizer steps, and the mean loss over all of them in nats per token."""

    steps: int
    loss: float


class PassFilter(TypedDict):
    """What filtering prompts by pass rate found, and what it took.

    Keys:
        asked, kept: Prompts that were sampled, and those that are trained on.
        too_low, too_high: Prompts below and above the limits.
        never, always: Prompts with a pass rate of 0 and of 1.
        mean: Of the pass rates.
        completions, tokens: That were sampled.
        seconds: Of all batches, those of interrupted runs included.
        belongs_to: Digest of model, prompts, rewards and settings, which every rate is bound to.
    """

    asked: int
    kept: int
    too_low: int
    too_high: int
    never: int
    always: int
    mean: float
    completions: int
    tokens: int
    seconds: float
    belongs_to: str


class RefillCost(TypedDict):
    """What filling the places of groups without a spread of rewards cost.

    Keys:
        groups: Groups that were trained on.
        prompts: Further prompts that were sampled; those that got no place among them.
        completions: Their completions.
        flat: Groups that were trained on and have no spread, since the limit was reached.
        seconds: That sampling and rewarding them took.
    """

    groups: int
    prompts: int
    completions: int
    flat: int
    seconds: float


class RlFigures(TypedDict):
    """Optimizer steps, the mean reward of the last one, the share of completions cut off.

    The last two are None where they were not logged; runs of earlier versions have no `clipped`.
    `refill` is there where groups were refilled.
    """

    steps: int
    reward: float | None
    clipped: NotRequired[float | None]
    refill: NotRequired[RefillCost]


class TrainingMetrics(LaunchMetrics, RateMetrics, Watched):
    """What both training stages measure."""

    steps: int


class SftMetrics(LaunchMetrics, SftFigures, RateMetrics, Watched):
    """What `train-sft` measures; `replay` where the base model's own answers are replayed."""

    replay: NotRequired[ReplaySampling]


class RlMetrics(LaunchMetrics, RlFigures, RateMetrics, Watched):
    """What `train-rl` measures; `pass_filter` where prompts were filtered by pass rate."""

    pass_filter: NotRequired[PassFilter]


@dataclass(frozen=True)
class TrainingRecord:
    """What `train-sft` and `train-rl` both count and measure."""

    counts: TrainingCounts
    metrics: TrainingMetrics


@dataclass(frozen=True)
class SftRecord(TrainingRecord):
    """What `train-sft` counts and measures."""

    counts: SftCounts
    metrics: SftMetrics


@dataclass(frozen=True)
class RlRecord(TrainingRecord):
    """What `train-rl` counts and measures."""

    metrics: RlMetrics


class DryRunCounts(TrainedRecords, MaskedElements):
    """What a dry run of a training stage counts; `loss_tokens` is of `train-sft`."""

    loss_tokens: NotRequired[int]


class DryRunFigures(TypedDict):
    """Steps that there would be, learning rate by step from 0, bytes by what holds them."""

    steps: int
    learning_rates: dict[int, float]
    bytes: dict[str, int]


class DryRunMetrics(LaunchMetrics, DryRunFigures):
    """What a dry run of a training stage finds out."""


@dataclass(frozen=True)
class DryRunRecord:
    """What a dry run counts and finds out; its manifest is shown and never written."""

    counts: DryRunCounts
    metrics: DryRunMetrics
