"""Options of `eval`, each stated once."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from lorapar_cli.errors import UsageError, nearest
from lorapar_cli.limits import (
    LARGEST_BATCH,
    LARGEST_TEMPERATURE,
    LEAST_TEMPERATURE,
    MOST_TOKENS,
    MOST_TRIES,
)
from lorapar_cli.model_options import (
    attention_option,
    device_map_option,
    model_option,
    shard_option,
    template_arg_option,
    trust_option,
)
from lorapar_cli.names import Attention, DeviceMap, Dtype
from lorapar_cli.options import (
    Options,
    code_memory_option,
    code_packages_option,
    code_timeout_option,
    option,
    seed_option,
)

TaskName = Literal["data", "gsm8k", "mmlu", "humaneval"]
TASKS = get_args(TaskName)
Style = Literal["trained", "harness"]
Match = Literal["answer", "latex", "exact", "choice"]
Backend = Literal["transformers", "vllm", "lm-eval"]

# Options that not every task has -> the tasks that have them.
_TASKS_WITH: dict[str, tuple[str, ...]] = {
    "style": ("gsm8k", "humaneval"),
    "num_fewshot": ("gsm8k", "mmlu"),
    "fewshot_data": ("gsm8k", "mmlu"),
    "match": ("data",),
    "code_packages": ("humaneval",),
    "code_timeout": ("humaneval",),
    "code_memory": ("humaneval",),
}


@dataclass(frozen=True)
class EvalOptions(Options):
    """Options of `eval`.

    With `completions` those on models and sampling are ignored.

    Raises:
        UsageError: An option out of range, options that contradict each other, or one that the task
            does not have.
    """

    task: str = option(
        "data",
        "What to evaluate on: data (your own records or those that `classify` held out), gsm8k, mmlu "
        "or humaneval; with `--backend lm-eval` any tasks of lm-evaluation-harness by name, "
        "comma-separated.",
    )
    # Not recorded: inputs are compared by content, not by path.
    data: str | None = option(
        None,
        "The task's file, folder or hub id. Default: for `data` the records that `classify` held "
        "out, for other tasks the published data set on the hub.",
        recorded=False,
    )
    adapter: tuple[str, ...] | None = option(
        None,
        "What to evaluate, comma-separated: base, sft, rl, NAME=FOLDER. Default: base and every "
        "adapter that the run has.",
        recorded=False,
    )
    model: str | None = model_option()
    num_fewshot: int | None = option(
        None,
        "Examples before each question. Default: 5 for mmlu and in style harness, else 0.",
        at_least=0,
        at_most=MOST_TRIES,
    )
    style: Style = option(
        "trained",
        "Prompts: through the model's chat template (trained), or as in lm-evaluation-harness "
        "(harness).",
    )
    fewshot_data: str | None = option(
        None, "Where the examples come from; needed if `--data` is a file.", recorded=False
    )
    match: Match = option(
        "answer",
        "When a completion of your own records is correct: by its final answer (answer), its final "
        "answer as mathematics (latex, needs `lorapar[latex]`), the whole text (exact) or the "
        "letter of an option (choice).",
    )
    completions: Path | None = option(
        None,
        "Grade the completions of this file (JSONL: `task_id` or `id`, `completion`) and load no "
        "model.",
        recorded=False,
    )
    name: str | None = option(
        None,
        "Folder of the result inside `eval/`. Default: `heldout`, the data file's stem or the "
        "task's name.",
        panel="Where",
        recorded=False,
    )
    limit: int | None = option(
        None,
        "Evaluate on the first N records only; for mmlu the first N of each subject, for tasks of "
        "lm-evaluation-harness the first N of each.",
        at_least=1,
    )
    max_new_tokens: int = option(
        256, "Tokens after which a completion is truncated.", at_least=1, at_most=MOST_TOKENS
    )
    samples: int = option(
        1, "Completions per record, for pass@k and maj@k.", at_least=1, at_most=10_000
    )
    temperature: float = option(
        0.0,
        "0 decodes greedily; tokens are sampled at 0.01 and above.",
        at_least=0,
        at_most=LARGEST_TEMPERATURE,
    )
    top_p: float = option(
        1.0,
        "Sample from the smallest set of tokens that has this probability.",
        at_least=0,
        at_most=1,
    )
    k: tuple[int, ...] = option((1,), "k of pass@k and maj@k, comma-separated.", at_least=1)
    backend: Backend = option(
        "transformers",
        "What runs the models: transformers, vLLM (needs `lorapar[vllm]` and a GPU), or "
        "lm-evaluation-harness (lm-eval, needs `lorapar[harness]`).",
        recorded=False,
    )
    lm_eval_include: Path | None = option(
        None,
        "Folder with task files of your own for lm-evaluation-harness. They may name Python "
        "functions, which run.",
        recorded=False,
    )
    batch_size: int = option(
        64, "Prompts per batch.", at_least=1, at_most=LARGEST_BATCH, recorded=False
    )
    dtype: Dtype = option(
        "auto",
        "Data type of the base model; `auto` is bfloat16 on a GPU and float32 elsewhere.",
        recorded=False,
    )
    attention: Attention | None = attention_option(recorded=False)
    forgetting: bool = option(
        True,
        "Measure beside accuracy what adapters made the base model forget: loss on records, distance "
        "from the base model, loss on neutral text.",
        earlier=False,
    )
    neutral: Path | None = option(
        None,
        "Text on which forgetting is measured, its first 8,192 tokens. Default: a novel of 1865.",
        recorded=False,
    )
    shard: bool = shard_option()
    device_map: DeviceMap | None = device_map_option()
    allow_code_execution: bool = option(
        False, "Run programs that the model wrote, in a sandbox (humaneval).", recorded=False
    )
    unsafe_code_execution: bool = option(
        False,
        "Run them even if this machine offers no sandbox. For disposable machines.",
        recorded=False,
    )
    code_packages: tuple[str, ...] = code_packages_option()
    code_timeout: float = code_timeout_option()
    code_memory: int = code_memory_option()
    seed: int = seed_option()
    template_arg: tuple[str, ...] = template_arg_option("Default: those that the run used.")
    trust_remote_code: bool = trust_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "k", tuple(sorted(self.k)))
        self._check_task()
        if self.adapter == ():
            raise UsageError("`--adapter` names nothing")
        if self.name is not None and not _is_plain(self.name):
            raise UsageError(f"`--name` is not a plain folder name: `{self.name}`")
        if self.completions is None:
            self._check_sampling()

    @property
    def harness_tasks(self) -> list[str]:
        """Names of tasks that lm-evaluation-harness brings; empty where the task is one of ours."""
        names = [each.strip() for each in self.task.split(",")]
        is_ours = self.task in TASKS and self.lm_eval_include is None
        return [] if self.backend != "lm-eval" or is_ours else names

    def _check_task(self) -> None:
        """Refuses unknown tasks, and options that the task would silently ignore."""
        defaults = {each.name: each.default for each in fields(self)}
        if self.backend != "lm-eval" and self.task not in TASKS:
            raise UsageError(
                f"`--task` has no `{self.task}`{nearest(self.task, [*TASKS])}",
                hint=f"known: {', '.join(TASKS)}; those of lm-evaluation-harness need "
                "`--backend lm-eval`",
            )
        if self.backend != "lm-eval" and self.lm_eval_include is not None:
            raise UsageError("`--lm-eval-include` needs `--backend lm-eval`")
        with_option = dict(_TASKS_WITH)
        if self.harness_tasks:
            with_option |= {"num_fewshot": (self.task,), "data": (), "completions": ()}
            with_option |= {"template_arg": ()}
        for name, tasks in with_option.items():
            value = getattr(self, name)
            if value != defaults[name] and self.task not in tasks:
                raise UsageError(
                    f"`--task {self.task}` has no `--{name.replace('_', '-')}`",
                    f"`{value}`",
                    "omit it, or give another `--task`",
                )

    def _check_sampling(self) -> None:
        if 0 < self.temperature < LEAST_TEMPERATURE:
            raise UsageError(
                f"`--temperature` must be 0 or at least {LEAST_TEMPERATURE}, "
                f"not {self.temperature:g}",
                hint="0 decodes greedily",
            )
        if self.samples > 1 and self.temperature == 0:
            raise UsageError(
                f"`--samples {self.samples}` would repeat the same completion",
                "`--temperature` is 0",
                "give a temperature above 0, for instance 0.8",
            )
        if max(self.k, default=0) > self.samples:
            raise UsageError(
                f"`--k {max(self.k)}` needs at least that many samples per record",
                f"`--samples` is {self.samples}",
            )
        if self.backend != "transformers" and self.attention is not None:
            raise UsageError(
                f"`--backend {self.backend}` chooses its own attention",
                f"`--attention {self.attention}`",
                "omit it, or use `--backend transformers`",
            )
        if self.backend != "transformers" and (self.shard or self.device_map is not None):
            raise UsageError(
                f"`--backend {self.backend}` does not divide the base model",
                "`--shard`" if self.shard else f"`--device-map {self.device_map}`",
                "omit it, or use `--backend transformers`",
            )
        if self.backend == "lm-eval" and self.temperature > 0:
            raise UsageError(
                "`--backend lm-eval` decodes greedily",
                f"`--temperature` is {self.temperature:g}",
                "omit `--temperature`",
            )


def _is_plain(name: str) -> bool:
    return bool(name) and Path(name).name == name and not name.startswith(".")
