"""Settings of the training stages and their defaults; standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What a training stage writes beside its result, and when, may change without another result.
_BESIDE = {"save_steps", "report_to"}
_BESIDE_IN_TRAINING = {
    *("run_name", "project", "logging_dir", "trackio_space_id", "log_level", "log_level_replica"),
    *("log_on_each_node", "logging_steps", "logging_first_step", "disable_tqdm"),
    *("log_completions", "num_completions_to_print", "log_unique_prompts"),
}


def deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a training stage's settings without those that cannot change its adapter.

    Runs whose deciding settings are equal resume each other and need not be repeated.

    Args:
        settings: A manifest's, or those of one that is about to be made.
    """
    beside = _BESIDE if settings.get("stop_without_spread") else _BESIDE | {"patience_steps"}
    kept = {key: value for key, value in settings.items() if key not in beside}
    if "training" in settings:
        kept["training"] = [
            pair for pair in settings["training"] if _key(pair) not in _BESIDE_IN_TRAINING
        ]
    return kept


def _key(pair: str) -> str:
    return pair.partition("=")[0].strip().replace("-", "_")


@dataclass(frozen=True)
class SftOptions:
    """Settings of `train-sft`; the defaults are the paper's where it gives them.

    Source: LoRA-PAR, experimental settings (learning rate, schedule, warm-up, length, dropout,
    32 records a step, one epoch).
    """

    learning_rate: float = 2e-4
    epochs: float = 1.0
    max_steps: int = -1
    per_device_batch_size: int = 4
    gradient_accumulation: int = 8
    scheduler: str = "cosine"
    warmup: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    optimizer: str = "adamw_torch"
    lora_dropout: float = 0.05
    max_length: int = 512
    replay: float = 0.0
    gradient_checkpointing: bool = False
    save_steps: int = 100
    dtype: str = "auto"
    quantize: str | None = None
    data: str = "system1"
    report_to: str = "none"
    seed: int = 0
    template: str | None = None
    training: tuple[str, ...] = ()


@dataclass(frozen=True)
class RlOptions:
    """Settings of `train-rl`; the defaults are the paper's where it gives them.

    Source: LoRA-PAR, experimental settings (learning rate, weight decay, second beta, warm-up,
    schedule, group size, completion length, clipping, one epoch).
    """

    learning_rate: float = 5e-6
    epochs: float = 1.0
    max_steps: int = -1
    per_device_batch_size: int = 8
    gradient_accumulation: int = 4
    num_generations: int = 8
    temperature: float = 1.0
    kl_beta: float = 0.0
    rewards: str = "answer=2,format=0.5"
    scheduler: str = "cosine"
    warmup: float = 0.1
    weight_decay: float = 0.1
    adam_beta2: float = 0.99
    max_grad_norm: float = 0.1
    optimizer: str = "adamw_torch"
    max_prompt_length: int = 512
    max_completion_length: int = 256
    replay: float = 0.0
    gradient_checkpointing: bool = False
    save_steps: int = 50
    dtype: str = "auto"
    quantize: str | None = None
    data: str = "system2"
    vllm: str | None = None
    patience_steps: int = 20
    stop_without_spread: bool = False
    report_to: str = "none"
    seed: int = 0
    template: str | None = None
    training: tuple[str, ...] = ()
