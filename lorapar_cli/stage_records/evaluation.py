"""What `eval` counts and measures."""

from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from lorapar_cli.stage_records.forgetting import Forgetting, ForgettingBasis


class Problems(TypedDict):
    """Numbers of completions, all of those of each item, by what is wrong with them.

    A completion may count twice, and a truncated one may be correct all the same.

    Keys:
        no_answer: No answer, choice, text or program was found.
        cut: Truncated at `--max-new-tokens`; where models were run.
        syntax_error, timeout, memory, assertion, exception, exit: Why a program fails: it is not
            Python, it ran out of time or memory, a test does not hold, something raised an
            exception, the program ended its process; where programs are run.
    """

    no_answer: int
    cut: NotRequired[int]
    syntax_error: NotRequired[int]
    timeout: NotRequired[int]
    memory: NotRequired[int]
    assertion: NotRequired[int]
    exception: NotRequired[int]
    exit: NotRequired[int]


class Accuracy(TypedDict):
    """Share of items whose first completion is correct, of all draws only the first.

    Keys:
        accuracy: None where n is 0.
        interval: Both ends of the 95 % Wilson interval.
        problems: Of the items' completions; where text is generated, of models and groups.
    """

    n: int
    correct: int
    accuracy: float | None
    interval: list[float]
    problems: NotRequired[Problems]


class PassAtK(TypedDict):
    """Probability that one of k completions is correct, estimated from all draws.

    Keys:
        pass_rate: Mean over items of the unbiased estimate; pass@1 is the mean over all draws.
        draws: Number of completions of each item, the smallest where they differ.
    """

    pass_rate: float
    draws: int
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
        plain: Accuracy of the completions as they stand behind their prompts, where programs are run.
        macro_accuracy: Mean of the subjects' accuracies, where likelihoods are compared.
    """

    strict: Accuracy
    plain: Accuracy
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
        cut: Number of completions that `--max-new-tokens` truncated; also among `problems`.
        forgetting: Where it was measured.
    """

    model: str
    completions: int
    cut: int
    forgetting: NotRequired[Forgetting]


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


class ModelSettings(TypedDict):
    """What completions depend on, where models were run.

    Keys:
        adapters: Model -> sha256 of its adapter's `config` and `weights`.
        template_sha256: Of a chat template that is not the model's own; None for that.
        template_arg: Its arguments, as KEY=VALUE.
        draws: Completions of each item.
    """

    base_model: dict[str, str | None] | None
    adapters: dict[str, dict[str, str]]
    template_sha256: str | None
    template_arg: list[str]
    max_new_tokens: int | None
    draws: int
    temperature: float
    top_p: float
    seed: int
    backend: str
    batch_size: int
    dtype: str


class EvalSettings(TypedDict):
    """What the figures depend on; where models were run, also the keys of `ModelSettings`.

    Keys:
        num_fewshot: Examples before each question; None where tasks of the harness decide.
        limit: `--limit`; None for all.
        inputs: Name of the data, examples or completions -> sha256.
        sandbox: How programs were confined; None where none were run.
        code: What programs were allowed, by option; where programs were run.
    """

    style: str
    num_fewshot: int | None
    limit: int | None
    inputs: dict[str, str]
    k: list[int]
    sandbox: str | None
    code: NotRequired[dict[str, Any]]


class RunSettings(EvalSettings, ModelSettings):
    """Settings of an evaluation in which models were run."""


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


class HarnessMetric(TypedDict):
    """One metric of a task of lm-evaluation-harness, under the harness's own name.

    Keys:
        filter: What the harness made of completions before it measured them; `none` for nothing.
        value, stderr: None where the harness has none.
    """

    metric: str
    filter: str
    value: float | None
    stderr: float | None
    higher_is_better: bool | None


class HarnessTask(TypedDict):
    """A task or group of lm-evaluation-harness.

    Keys:
        n: Number of questions; 0 for a group that does not say.
    """

    task: str
    is_group: bool
    version: str | None
    num_fewshot: int | None
    n: int
    metrics: list[HarnessMetric]


class HarnessRow(TypedDict):
    """One model on tasks of lm-evaluation-harness."""

    model: str
    tasks: list[HarnessTask]


class EvalMetrics(TypedDict):
    """Accuracy of each model and difference of each pair; seconds by model, where models were run.

    Keys:
        harness: In place of both, which are empty, on tasks of lm-evaluation-harness by name.
        forgetting_basis: What forgetting was measured on, where it was.
        forgetting_seconds: That measuring it took, of all models.
    """

    seconds: NotRequired[dict[str, float]]
    models: list[ModelRow]
    pairs: list[PairRow]
    harness: NotRequired[list[HarnessRow]]
    forgetting_basis: NotRequired[ForgettingBasis]
    forgetting_seconds: NotRequired[float]


@dataclass(frozen=True)
class EvalRecord:
    """What `eval` counts and measures."""

    counts: EvalCounts
    metrics: EvalMetrics
