"""What can be said of a training stage's options before anything is read or loaded.

A run of all stages asks this first, so that a slip in the last one costs no hours of the others.
"""

from lorapar_cli.errors import UsageError
from lorapar_cli.launcher import world_size
from lorapar_cli.training.masking.engines import requested_engine
from lorapar_cli.training.option_aliases import Options, adopt_options
from lorapar_cli.training.options import RlOptions
from lorapar_cli.training.rewards.builtin import Reward
from lorapar_cli.training.rewards.load import resolve_rewards

_NEEDS_LIBRARIES = {"training", "optimizer", "report_to"}


def check_training_options(
    options: Options, given: list[str], *, allow_code: bool, unsafe_code: bool
) -> None:
    """Checks the options of a training stage as the stage itself will.

    Args:
        given: Names of the options that the user gave; libraries are loaded only for what these
            name of optimizers, trackers and trainer arguments.

    Raises:
        LoraparError: A package, device or sandbox that they need is missing.
        UsageError: An option, reward or trainer argument is unknown or does not fit the others.
    """
    options = adopt_options(options, given)
    if isinstance(options, RlOptions):
        find_rewards(options, allow_code, unsafe_code)
    if not _NEEDS_LIBRARIES & set(given):
        return
    from trl import GRPOConfig, SFTConfig

    from lorapar_cli.training.masking.optimizers import require_optimizer
    from lorapar_cli.training.trainer_arguments import parse_training_arguments, require_tracker

    require_tracker(options.report_to)
    require_optimizer(options, requested_engine())
    config_class = GRPOConfig if isinstance(options, RlOptions) else SFTConfig
    parse_training_arguments(options.training, config_class)


def find_rewards(
    options: RlOptions, allow_code: bool, unsafe_code: bool
) -> dict[str, tuple[Reward, float]]:
    """Returns `train-rl`'s rewards by name, each with its weight.

    Raises:
        LoraparError: Programs are to be run and there is no sandbox.
        UsageError: An unknown reward, or a step's completions are not whole groups.
    """
    rewards = resolve_rewards(options.rewards, allow_code, unsafe_code)
    processes = world_size()
    completions = options.per_device_batch_size * options.gradient_accumulation * processes
    if completions % options.num_generations:
        raise UsageError(
            f"{completions} completions a step are not groups of {options.num_generations}",
            f"`--per-device-batch-size` {options.per_device_batch_size} x "
            f"`--gradient-accumulation` {options.gradient_accumulation} x {processes} processes",
            "make the product a multiple of `--num-generations`",
        )
    return rewards
