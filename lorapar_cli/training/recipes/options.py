"""Options of what may be done around a training stage, each stated once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lorapar_cli.errors import UsageError
from lorapar_cli.limits import (
    LARGEST_BATCH,
    LARGEST_TEMPERATURE,
    LEAST_TEMPERATURE,
    MOST_STEPS,
    MOST_TRIES,
)
from lorapar_cli.options import Options, option, required

OTHER, SELF = "other", "self"
"""Values of `--replay-source` that are not a file."""
_RECIPES = {"panel": "Recipes"}


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(Options):
    """Recipes that both training stages have.

    Raises:
        UsageError: A source of replay without replay.
    """

    find_lr: bool = option(
        False,
        "Find the learning rate first, by short trainings at several rates that are measured on "
        "records held out from them.",
        **_RECIPES,
    )
    find_lr_steps: int = required(
        "Optimizer steps of each short training of `--find-lr`.",
        at_least=1,
        at_most=MOST_STEPS,
        **_RECIPES,
    )
    replay: float = option(
        0.0,
        "Share of all records that is replayed, by default from the other system.",
        at_least=0,
        at_most=0.9,
        **_RECIPES,
    )
    replay_source: str = option(
        OTHER,
        "What is replayed: `other`, the other system's records; `self`, the base model's own "
        "answers to their prompts, sampled once (`train-sft` only); or a file in a format that "
        "`classify` reads.",
        metavar="other|self|FILE",
        **_RECIPES,
    )
    sample_batch_size: int = option(
        16,
        "Prompts per batch where a model is sampled before training.",
        at_least=1,
        at_most=LARGEST_BATCH,
        **_RECIPES,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.replay_source != OTHER and not self.replay:
            raise UsageError(
                f"`--replay-source {self.replay_source}` replays nothing without `--replay`",
                hint="give a share, such as `--replay 0.1`",
            )


@dataclass(frozen=True, kw_only=True)
class SftRecipeOptions(RecipeOptions):
    """Recipes of `train-sft`."""

    replay_temperature: float = option(
        1.0,
        "Sampling temperature of `--replay-source self`; 1 samples what the base model is.",
        at_least=LEAST_TEMPERATURE,
        at_most=LARGEST_TEMPERATURE,
        **_RECIPES,
    )


@dataclass(frozen=True, kw_only=True)
class RlRecipeOptions(RecipeOptions):
    """Recipes of `train-rl`.

    Raises:
        UsageError: The base model's own answers were to be replayed, or no pass rate can be within
            the limits.
    """

    min_pass: float | None = option(
        None,
        "Leave out prompts that the model passes more rarely, at the start of the stage.",
        at_least=0,
        at_most=1,
        **_RECIPES,
    )
    max_pass: float | None = option(
        None,
        "Leave out prompts that the model passes more often, at the start of the stage.",
        at_least=0,
        at_most=1,
        **_RECIPES,
    )
    pass_samples: int = option(
        8,
        "Completions per prompt by which `--min-pass` and `--max-pass` measure pass rates.",
        at_least=1,
        at_most=LARGEST_BATCH,
        **_RECIPES,
    )
    refill: bool = option(
        False,
        "Skip groups without a spread of rewards and fill their places from further prompts, as "
        "DAPO does.",
        **_RECIPES,
    )
    refill_limit: int = option(
        4,
        "Rounds of further prompts for one batch, after which groups without a spread stay.",
        at_least=1,
        at_most=MOST_TRIES,
        **_RECIPES,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.replay_source == SELF:
            raise UsageError(
                "`--replay-source self` is for `train-sft`",
                "`train-rl` samples answers itself and rewards them by reference answers, which the "
                "base model's own answers are not",
                "replay the other system's records (`--replay-source other`); `--kl-beta` keeps "
                "answers close to the adapter that the stage starts from",
            )
        if self.filters and (self.min_pass or 0) > (1 if self.max_pass is None else self.max_pass):
            raise UsageError(
                "no pass rate is within the limits",
                f"`--min-pass {self.min_pass}` is above `--max-pass {self.max_pass}`",
            )

    @property
    def filters(self) -> bool:
        """Whether prompts are filtered by pass rate."""
        return self.min_pass is not None or self.max_pass is not None


def idle_options(settings: Mapping[str, Any]) -> set[str]:
    """Returns the settings that nothing depends on, because the recipe that they belong to is off.

    Args:
        settings: A training stage's, or those of one that is about to be made.
    """
    idle = set()
    asks_base = bool(settings.get("replay")) and settings.get("replay_source") == SELF
    filters = settings.get("min_pass") is not None or settings.get("max_pass") is not None
    if not asks_base:
        idle.add("replay_temperature")
    if not filters:
        idle.add("pass_samples")
    # A search in RL samples too.
    if not (asks_base or filters or settings.get("find_lr")):
        idle.add("sample_batch_size")
    if not settings.get("refill"):
        idle.add("refill_limit")
    if not settings.get("find_lr"):
        idle.add("find_lr_steps")
    return idle
