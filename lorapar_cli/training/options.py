"""Options of `train-sft` and `train-rl`, each stated once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lorapar_cli.errors import UsageError, nearest
from lorapar_cli.limits import (
    LARGEST_BATCH,
    LARGEST_RATE,
    LARGEST_TEMPERATURE,
    LEAST_TEMPERATURE,
    MOST_EPOCHS,
    MOST_STEPS,
    MOST_TOKENS,
)
from lorapar_cli.model_options import (
    attention_option,
    dtype_option,
    model_option,
    quantize_option,
    template_arg_option,
    template_option,
    trust_option,
)
from lorapar_cli.names import Attention, Dtype, Quantize
from lorapar_cli.options import (
    code_memory_option,
    code_packages_option,
    code_timeout_option,
    option,
    options_of,
    out_option,
    required,
    seed_option,
)
from lorapar_cli.training.recipes.options import (
    RecipeOptions,
    RlRecipeOptions,
    SftRecipeOptions,
    idle_options,
)
from lorapar_cli.training.rewards.names import reward_names
from lorapar_cli.training.speed.options import (
    SftSpeedOptions,
    SpeedOptions,
    require_packed_attention,
)
from lorapar_cli.training.watching.options import WatchOptions, idle_watching

TRACKERS = ("none", "wandb", "tensorboard", "trackio", "mlflow", "swanlab")
"""Values of `--report-to`, each but `none` also the name of the package."""

_WHERE = {"panel": "Where", "recorded": False}
_RUN = {"panel": "Run", "recorded": False}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(RecipeOptions, WatchOptions, SpeedOptions):
    """Options that both training stages have; a stage gives the defaults in which they differ.

    Raises:
        UsageError: An option out of range, an unknown tracker, or no step to take.
    """

    learning_rate: float = required("Peak learning rate.", above=0, trainer="learning_rate")
    epochs: float = option(
        1.0, "Passes over the records.", above=0, at_most=MOST_EPOCHS, trainer="num_train_epochs"
    )
    max_steps: int = option(
        -1,
        "Number of optimizer steps; -1 follows `--epochs`.",
        at_least=-1,
        at_most=MOST_STEPS,
        trainer="max_steps",
    )
    per_device_batch_size: int = required(
        "Sequences per batch on one device; in train-rl, completions.",
        at_least=1,
        at_most=LARGEST_BATCH,
        trainer="per_device_train_batch_size",
    )
    gradient_accumulation: int = required(
        "Batches whose gradients are accumulated into one optimizer step.",
        at_least=1,
        at_most=LARGEST_BATCH,
        trainer="gradient_accumulation_steps",
    )
    scheduler: str = option(
        "cosine",
        "Learning-rate schedule: `cosine`, `linear`, `constant_with_warmup` or another name that "
        "transformers knows.",
        trainer="lr_scheduler_type",
    )
    warmup: float = required(
        "Warm-up: a share of all steps if below 1, else a number of steps.",
        at_least=0,
        at_most=MOST_STEPS,
        trainer="warmup_steps",
    )
    weight_decay: float = required(
        "Weight decay of the active elements.",
        at_least=0,
        at_most=LARGEST_RATE,
        trainer="weight_decay",
    )
    max_grad_norm: float = required(
        "Maximum norm of the gradient of the active elements; a larger one is clipped.",
        at_least=0,
        trainer="max_grad_norm",
    )
    optimizer: str = option(
        "adamw_torch",
        "Optimizer, by its name in transformers' `TrainingArguments`.",
        trainer="optim",
    )
    gradient_checkpointing: bool = option(
        False,
        "Recompute activations in the backward pass to save memory.",
        trainer="gradient_checkpointing",
    )
    save_steps: int = required(
        "Optimizer steps between checkpoints.", at_least=1, decides=False, trainer="save_steps"
    )
    dtype: Dtype = dtype_option()
    quantize: Quantize | None = quantize_option()
    attention: Attention | None = attention_option()
    seed: int = seed_option(trainer="seed")
    data: str = required(
        "Records to train on: `system1`, `system2`, `all`, or a file in a format that `classify` "
        "reads."
    )
    report_to: str = option(
        "none",
        f"Tracker that receives the metrics as well: {', '.join(TRACKERS)}.",
        decides=False,
        trainer="report_to",
    )
    template: Path | None = template_option()
    template_arg: tuple[str, ...] = template_arg_option("Default: those that the run used.")
    training: tuple[str, ...] = option(
        (),
        "Further argument of TRL's trainer configuration; repeatable.",
        repeatable=True,
        metavar="KEY=VALUE",
    )
    model: str | None = model_option()
    trust_remote_code: bool = trust_option()
    splits: Path | None = option(
        None, "Folder with system1.jsonl and system2.jsonl. Default: classify's.", **_WHERE
    )
    mask: str | None = option(
        None, "Mask file, or `none` to train every element. Default: partition's.", **_WHERE
    )
    from_: Literal["init", "sft", "rl"] | None = option(
        None,
        "Adapter of the run to start from: as scored (init), after SFT (sft) or after RL (rl). "
        "Default: init for train-sft, sft for train-rl.",
        flag="--from",
        **_WHERE,
    )
    adapter: Path | None = option(
        None, "Adapter folder to start from. Default: the one that `--from` selects.", **_WHERE
    )
    out: Path | None = out_option()
    overwrite: bool = option(False, "Replace a result of other settings or inputs.", **_RUN)
    dry_run: bool = option(
        False,
        "Prepare everything up to the first step, report what it would be, and write nothing.",
        **_RUN,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_steps == 0:
            raise UsageError("`--max-steps 0` trains nothing")
        if self.report_to not in TRACKERS:
            raise UsageError(
                f"unknown tracker `{self.report_to}`{nearest(self.report_to, [*TRACKERS])}",
                hint=f"trackers: {', '.join(TRACKERS)}",
            )


@dataclass(frozen=True, kw_only=True)
class SftOptions(TrainingOptions, SftRecipeOptions, SftSpeedOptions):
    """Options of `train-sft`; the defaults are the paper's where it gives them.

    Source: LoRA-PAR, experimental settings (learning rate, schedule, warm-up, length, dropout,
    32 records per step, one epoch).
    """

    learning_rate: float = 2e-4
    find_lr_steps: int = 20
    per_device_batch_size: int = 4
    gradient_accumulation: int = 8
    warmup: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    save_steps: int = 100
    data: str = "system1"
    lora_dropout: float = option(
        0.05, "Dropout probability before the LoRA matrices.", at_least=0, at_most=0.99
    )
    max_length: int = option(
        512,
        "Maximum tokens of prompt and completion; longer records are left out.",
        at_least=2,
        at_most=MOST_TOKENS,
        trainer="max_length",
    )
    show_tokens: int = option(
        0,
        "Print N records, marking the tokens that contribute to the loss.",
        at_least=0,
        metavar="N",
        **_RUN,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_packed_attention(self.packing, self.attention)


@dataclass(frozen=True, kw_only=True)
class RlOptions(TrainingOptions, RlRecipeOptions):
    """Options of `train-rl`; the defaults are the paper's where it gives them.

    Source: LoRA-PAR, experimental settings (learning rate, weight decay, second beta, warm-up,
    schedule, group size, completion length, clipping, one epoch).
    """

    learning_rate: float = 5e-6
    find_lr_steps: int = 10
    per_device_batch_size: int = 8
    gradient_accumulation: int = 4
    warmup: float = 0.1
    weight_decay: float = 0.1
    max_grad_norm: float = 0.1
    save_steps: int = 50
    data: str = "system2"
    adam_beta2: float = option(
        0.99, "Second beta of AdamW.", at_least=0, below=1, trainer="adam_beta2"
    )
    num_generations: int = option(
        8,
        "Completions per prompt: GRPO's group size.",
        at_least=2,
        at_most=LARGEST_BATCH,
        trainer="num_generations",
    )
    temperature: float = option(
        1.0,
        "Sampling temperature of the completions.",
        at_least=LEAST_TEMPERATURE,
        at_most=LARGEST_TEMPERATURE,
        trainer="temperature",
    )
    kl_beta: float = option(
        0.0,
        "Weight of the KL divergence from the starting adapter; GRPO's beta.",
        at_least=0,
        at_most=LARGEST_RATE,
        trainer="beta",
    )
    rewards: str = option(
        "answer=2,format=0.5",
        "Rewards and their weights, such as `answer=2,format=0.5`, or `paper` for the paper's. "
        f"Known: {', '.join(reward_names())}; or your own function, `module.function`.",
    )
    patience_steps: int = option(
        20,
        "Consecutive steps in which no group's rewards differ before a note says so.",
        at_least=1,
        decides=False,
    )
    stop_without_spread: bool = option(
        False, "Stop where `--patience-steps` is reached and publish the adapter as it is."
    )
    allow_code_execution: bool = option(
        False, "Let the reward `code` run generated programs in a sandbox.", recorded=False
    )
    unsafe_code_execution: bool = option(
        False, "Run generated programs without a sandbox where none is available.", recorded=False
    )
    code_packages: tuple[str, ...] = code_packages_option()
    code_timeout: float = code_timeout_option()
    code_memory: int = code_memory_option()
    vllm: Literal["colocate", "server", "async"] | None = option(
        None,
        "Generate with vLLM: in this process (colocate), on a server that waits for every step "
        "(server), both with `lorapar[vllm]`, or on one that writes ahead while this process trains "
        "(async).",
    )
    max_prompt_length: int = option(
        512,
        "Maximum tokens of a prompt; records with longer ones are left out.",
        at_least=1,
        at_most=MOST_TOKENS,
    )
    max_completion_length: int = option(
        256,
        "Maximum tokens of a completion.",
        at_least=1,
        at_most=MOST_TOKENS,
        trainer="max_completion_length",
    )


_WITHOUT_EFFECT = {
    each.name
    for stage in (SftOptions, RlOptions)
    for each in options_of(stage)
    if not each.stated.decides
}
# Trainer arguments that say what is written besides the result, and when.
_ARGUMENTS_WITHOUT_EFFECT = {
    *("run_name", "project", "logging_dir", "trackio_space_id", "log_level", "log_level_replica"),
    *("log_on_each_node", "logging_first_step", "disable_tqdm"),
    *("log_completions", "num_completions_to_print", "log_unique_prompts"),
}


def deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a training stage's settings without those that cannot change its adapter.

    Runs whose deciding settings are equal resume each other and need not be repeated.

    Args:
        settings: A manifest's, or those of one that is about to be made.
    """
    # Patience ends the run only where the run is asked to stop.
    stopping = {"patience_steps"} if settings.get("stop_without_spread") else set()
    without = (_WITHOUT_EFFECT - stopping) | idle_options(settings) | idle_watching(settings)
    kept = {key: value for key, value in settings.items() if key not in without}
    if "training" in settings:
        kept["training"] = [
            pair
            for pair in settings["training"]
            if argument_name(pair) not in _ARGUMENTS_WITHOUT_EFFECT
        ]
    return kept


def argument_name(pair: str) -> str:
    """Returns the trainer argument that a `KEY=VALUE` pair names."""
    return pair.partition("=")[0].strip().replace("-", "_")
