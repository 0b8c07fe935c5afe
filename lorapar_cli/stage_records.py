"""What each stage counts and measures: the keys of `counts` and `metrics` in its manifest.

A stage writes its record through `Manifest.keep` and everybody reads it through `Manifest.record`,
so that a key that nobody writes, or that a damaged manifest lacks, is found where it is read.
Standard library only.
"""

import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict


class TeacherRow(TypedDict):
    """What one teacher was asked, how it voted and what it cost.

    `asked` questions were answered in this run, `from_journal` in earlier ones; tokens and `cost`
    (US dollars, None where the price is unknown) are of both. `cut` answers reached `max_tokens`
    before they named a label.
    """

    system1: int
    system2: int
    no_vote: int
    asked: int
    from_journal: int
    requests: int
    retries: int
    too_many_requests: int
    refused: int
    cut: NotRequired[int]
    max_tokens: NotRequired[int | None]
    tokens_estimated: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    price_date: str | None


class RequestsSaved(TypedDict):
    """Questions to teachers other than rules that needed no request, by the reason."""

    journal: int
    economy: int
    repeated_records: int


class ClassifyCounts(TypedDict):
    """Numbers of records; `teachers` by name. `unanswered` counts questions, not records."""

    records: int
    system1: int
    system2: int
    heldout: int
    undecided: int
    contested: int
    reviewed: int
    dropped: int
    empty: int
    bad_lines: int
    repeated_ids: int
    repeated_records: int
    unanswered: NotRequired[int]
    requests_saved: RequestsSaved
    teachers: dict[str, TeacherRow]


class HitRates(TypedDict):
    """Probability that a teacher names the right system, by the record's true system."""

    system1: float
    system2: float


class ClassifyMetrics(TypedDict):
    """Agreement of the votes, money, and accuracy where the source has labels of its own.

    Keys of `pairwise_agreement` are `first|second`. `accuracy` is by teacher, of the vote under
    `vote`, with the number of records under `records`.
    """

    reliability: NotRequired[dict[str, HitRates]]
    mean_agreement: float | None
    krippendorff_alpha: float | None
    pairwise_agreement: dict[str, float | None]
    cost: float | None
    accuracy: NotRequired[dict[str, float]]


@dataclass(frozen=True)
class ClassifyRecord:
    """What `classify` counts and measures."""

    counts: ClassifyCounts
    metrics: ClassifyMetrics


Regions = dict[str, int]
"""Name of a region -> number of elements."""


class RegionRow(TypedDict):
    """Elements of one part of the adapter."""

    elements: int
    regions: Regions
    active_sft: int
    active_rl: int


class KindRow(RegionRow):
    """A kind of target module and one of its two matrices, over all layers."""

    module: str
    matrix: str


class LayerRow(RegionRow):
    """One layer, all modules."""

    layer: str


class PartitionCounts(RegionRow):
    """The whole adapter, and the same by kind and by layer."""

    by_kind: list[KindRow]
    by_layer: list[LayerRow]


class PartitionMetrics(TypedDict):
    """Shares of all elements, and how much the two top sets have in common."""

    jaccard: float
    share_active_sft: float
    share_active_rl: float
    share_selected: float
    theta_of_budget: NotRequired[float]


@dataclass(frozen=True)
class PartitionRecord:
    """What `partition` counts and measures."""

    counts: PartitionCounts
    metrics: PartitionMetrics


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


class LaunchMetrics(TypedDict):
    """How a training stage was launched: number of processes, name of the engine."""

    processes: int
    engine: str


class TrainedRecords(TypedDict):
    """What a training stage read: records by system, and how many of all it trains on."""

    records: dict[str, int]
    trained_records: int


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


class SftFigures(TypedDict):
    """Optimizer steps, and the mean loss over all of them in nats per token."""

    steps: int
    loss: float


class RlFigures(TypedDict):
    """Optimizer steps, and the mean reward of the last one; None where it was not logged."""

    steps: int
    reward: float | None


class TrainingMetrics(LaunchMetrics):
    """What both training stages measure."""

    steps: int


class SftMetrics(LaunchMetrics, SftFigures):
    """What `train-sft` measures."""


class RlMetrics(LaunchMetrics, RlFigures):
    """What `train-rl` measures."""


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


class Accuracy(TypedDict):
    """Share of items whose first completion is correct.

    Keys:
        accuracy: None where n is 0.
        interval: Both ends of the 95 % Wilson interval.
    """

    n: int
    correct: int
    accuracy: float | None
    interval: list[float]


class PassAtK(TypedDict):
    """Mean over items of the estimate that one of k completions is correct, with its interval."""

    accuracy: float
    interval: list[float]


class GroupAccuracies(TypedDict, total=False):
    """Kind of group -> group -> accuracy of its items, where the task's items have groups."""

    by_group: dict[str, Accuracy]
    by_steps: dict[str, Accuracy]
    by_subject: dict[str, Accuracy]
    by_system: dict[str, Accuracy]


class RuleAccuracies(TypedDict, total=False):
    """What single rules of grading add.

    Keys:
        strict: Accuracy by the strict rule, where final answers are compared.
        macro_accuracy: Mean of the subjects' accuracies, where likelihoods are compared.
    """

    strict: Accuracy
    macro_accuracy: float


class SampledAccuracies(TypedDict, total=False):
    """k -> share of items, where items have several completions.

    Keys:
        maj_at_k: Accuracy of the answer that most of the first k completions have, where
            completions have answers.
    """

    pass_at_k: dict[str, PassAtK]
    maj_at_k: dict[str, Accuracy]


class ModelRow(Accuracy, GroupAccuracies, RuleAccuracies, SampledAccuracies):
    """One model on all items.

    Keys:
        completions: Number of completions, all of those of each item.
        cut: Number of completions that `--max-new-tokens` truncated.
    """

    model: str
    completions: int
    cut: int


class Difference(TypedDict):
    """One model minus another on the same items.

    Keys:
        only_first, only_second: Items that only this model, or only the other one, gets right.
        difference: Of the accuracies, -1 to 1.
        p_value: Exact two-sided McNemar test of no difference.
        interval: Both ends of the 95 % interval of the difference.
    """

    n: int
    only_first: int
    only_second: int
    difference: float
    p_value: float
    interval: list[float]


class PairRow(Difference):
    """Two models on all items, and by system where systems are known."""

    model: str
    against: str
    by_system: NotRequired[dict[str, Difference]]


class EvalCounts(TypedDict):
    """Items and tokens of one evaluation.

    Keys:
        cut_prompts: Prompts truncated from the left to fit the model, where models were run.
        without_reference: Records left out because they have no reference answer.
        tokens: Model -> number of generated tokens.
    """

    cut_prompts: NotRequired[int]
    items: int
    without_reference: int
    tokens: dict[str, int]


class EvalMetrics(TypedDict):
    """Accuracy of each model and difference of each pair; seconds by model, where models were run."""

    seconds: NotRequired[dict[str, float]]
    models: list[ModelRow]
    pairs: list[PairRow]


@dataclass(frozen=True)
class EvalRecord:
    """What `eval` counts and measures."""

    counts: EvalCounts
    metrics: EvalMetrics


def find_mismatch(value: Any, kind: Any, place: str = "") -> str | None:
    """Returns where a value read from JSON is not of a type, or None.

    Args:
        value: What `json` returned.
        kind: A type, a TypedDict, or list, dict, Literal, Optional of such.
        place: Where the value stands, for the message.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return None
    if origin in (typing.Union, types.UnionType):
        found = [find_mismatch(value, part, place) for part in parts]
        return None if None in found else found[0]
    if origin is typing.Literal:
        return None if value in parts else f"`{place}` is {value!r}"
    if origin is list:
        return _is_not(value, list, place) or _first(
            find_mismatch(each, parts[0], f"{place}[{number}]") for number, each in enumerate(value)
        )
    if origin is dict:
        return _is_not(value, dict, place) or _first(
            find_mismatch(each, parts[1], f"{place}.{name}") for name, each in value.items()
        )
    if typing.is_typeddict(kind):
        return _is_not(value, dict, place) or _find_in_record(value, kind, place)
    return _is_not(value, kind, place)


def _find_in_record(value: dict[str, Any], kind: Any, place: str) -> str | None:
    hints = typing.get_type_hints(kind)
    for name, hint in hints.items():
        where = f"{place}.{name}" if place else name
        if name in value:
            if mismatch := find_mismatch(value[name], hint, where):
                return mismatch
        elif name in kind.__required_keys__:
            return f"`{where}` is missing"
    return None


def _is_not(value: Any, kind: type, place: str) -> str | None:
    # JSON writes 1.0 as 1.0 and 1 as 1, and a float that happens to be whole may be either.
    accepted = (int, float) if kind is float else (kind,)
    good = isinstance(value, accepted) and not (isinstance(value, bool) and kind is not bool)
    return None if good else f"`{place}` is {value!r}"


def _first(found: typing.Iterable[str | None]) -> str | None:
    return next((each for each in found if each is not None), None)
