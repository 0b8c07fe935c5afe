"""Rewards by name or by dotted path, checked each time they are called."""

import importlib
import math
import os
import sys

from lorapar_cli.core.rewards import REWARDS, Reward, parse_weights
from lorapar_cli.errors import LoraparError, UsageError


def resolve_rewards(text: str) -> dict[str, tuple[Reward, float]]:
    """Returns name -> reward and weight of an option such as `answer=2,mymodule.polite=0.5`.

    A name with a dot is a user's function, imported from the working folder or the environment:
    from completions and reference answers, both lists of strings, to one number each.

    Raises:
        UsageError: An unknown name, a bad weight, or a path that leads to no function.
    """
    names = [part.partition("=")[0].strip() for part in text.split(",")]
    dotted = [name for name in names if "." in name]
    weights = parse_weights(text, also=dotted)
    return {
        name: (_import(name) if name in dotted else REWARDS[name], weight)
        for name, weight in weights.items()
    }


def _import(path: str) -> Reward:
    module, _, name = path.rpartition(".")
    # The command may be installed elsewhere; a user's module lies where the command is typed.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        reward = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as cause:
        raise UsageError(
            f"cannot import reward `{path}`",
            str(cause),
            "give `module.function`, importable from here",
        ) from cause
    if not callable(reward):
        raise UsageError(f"reward `{path}` is no function", type(reward).__name__)
    return reward


def checked_rewards(
    name: str, reward: Reward, texts: list[str], references: list[str | None]
) -> list[float]:
    """Returns the reward's values, one finite number a completion.

    Raises:
        LoraparError: The reward raised, or gave something else; names it.
    """
    try:
        values = [float(value) for value in reward(texts, references)]
    except Exception as cause:
        raise LoraparError(f"reward `{name}` failed", f"{type(cause).__name__}: {cause}") from cause
    if len(values) != len(texts):
        raise LoraparError(
            f"reward `{name}` gave {len(values)} values for {len(texts)} completions"
        )
    if bad := [value for value in values if not math.isfinite(value)]:
        raise LoraparError(f"reward `{name}` gave {bad[0]}", hint="rewards are finite numbers")
    return values
