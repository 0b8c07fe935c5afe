"""What can be said of a training stage's options before anything is read or loaded.

A run of all stages asks this first, so that a mistake in the last one costs no hours of the others.
"""

from collections.abc import Sequence
from typing import Any

from lorapar_cli.errors import UsageError
from lorapar_cli.grading.sandbox.runner import Limits
from lorapar_cli.launcher import world_size
from lorapar_cli.models.placement.engines import requested_engine
from lorapar_cli.plurals import counted
from lorapar_cli.training.option_aliases import adopt_options
from lorapar_cli.training.options import RlOptions, TrainingOptions
from lorapar_cli.training.recipes.judges import find_judges
from lorapar_cli.training.rewards.load import WeightedRewards, resolve_rewards
from lorapar_cli.training.rollouts.requirements import ASYNC, require_async
from lorapar_cli.training.speed.requirements import require_placement, require_speed

_NEEDS_LIBRARIES = {"attention", "training", "optimizer", "report_to", "compile", "liger", "vllm"}


def check_training_options(options: TrainingOptions, given: Sequence[str]) -> None:
    """Checks the options of a training stage as the stage itself will.

    Args:
        given: Names of the options that the user gave; libraries are loaded only to check the
            attention, optimizers, trackers and trainer arguments among them.

    Raises:
        LoraparError: A package, device or sandbox that they need is missing.
        UsageError: An option, reward or trainer argument is unknown or does not fit the others.
    """
    options = adopt_options(options, given)
    require_placement(options, requested_engine(), world_size())
    if isinstance(options, RlOptions):
        find_rewards(options)
    if _NEEDS_LIBRARIES & set(given):
        read_trainer_arguments(options)


def read_trainer_arguments(options: TrainingOptions) -> dict[str, Any]:
    """Returns the trainer arguments of `--training`, and checks what the trainer needs besides.

    Raises:
        LoraparError: The tracker or optimizer cannot be used here.
        UsageError: The optimizer or a trainer argument is unknown, or does not fit the options.
    """
    import torch
    from transformers import TrainingArguments
    from trl import GRPOConfig, SFTConfig

    from lorapar_cli.models.base_model import pick_dtype, require_attention
    from lorapar_cli.training.masking.optimizers import require_optimizer
    from lorapar_cli.training.trackers import require_tracker
    from lorapar_cli.training.trainer_arguments import parse_training_arguments

    if options.attention is not None:
        # Without a number: which GPU is this process's is settled later.
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        require_attention(options.attention, pick_dtype(options.dtype, device), device)
    engine = requested_engine()
    require_placement(options, engine, world_size())
    require_speed(options, engine, torch.cuda.is_available())
    config_class: type[TrainingArguments] = SFTConfig
    if isinstance(options, RlOptions):
        require_async(options, engine, world_size())
        config_class = GRPOConfig
        if options.vllm == ASYNC:
            from lorapar_cli.training.rollouts.async_grpo import AsyncGRPOConfig

            config_class = AsyncGRPOConfig
    require_tracker(options.report_to)
    require_optimizer(options, engine)
    return parse_training_arguments(options.training, config_class)


def find_rewards(options: RlOptions) -> WeightedRewards:
    """Returns `train-rl`'s rewards by name, each with its weight.

    Raises:
        LoraparError: A reward needs a sandbox or package that is not there.
        UsageError: An unknown reward, none that pass rates could be judged by, or a step's
            completions do not divide into groups.
    """
    rewards = resolve_rewards(
        options.rewards,
        options.allow_code_execution,
        options.unsafe_code_execution,
        Limits(options.code_timeout, options.code_memory),
        options.code_packages,
    )
    if options.filters:
        find_judges(rewards)
    processes = world_size()
    completions = options.per_device_batch_size * options.gradient_accumulation * processes
    if completions % options.num_generations:
        raise UsageError(
            f"{counted(completions, 'completion')} per step do not divide into groups of "
            f"{options.num_generations}",
            f"`--per-device-batch-size` {options.per_device_batch_size} x "
            f"`--gradient-accumulation` {options.gradient_accumulation} x "
            f"{counted(processes, 'process', 'processes')}",
            "make the product a multiple of `--num-generations`",
        )
    return rewards
