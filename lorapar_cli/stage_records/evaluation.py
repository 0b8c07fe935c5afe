"""What `eval` counts and measures."""

from dataclasses import dataclass
from typing import NotRequired, TypedDict


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
