"""Rewards by name or by dotted path, checked each time they are called."""

import importlib
import math
import os
import sys

from lorapar_cli.core.rewards import REWARDS, Reward, parse_weights
from lorapar_cli.errors import LoraparError, UsageError

CODE, LATEX = "code", "latex"


def resolve_rewards(
    text: str, allow_code: bool = False, unsafe: bool = False
) -> dict[str, tuple[Reward, float]]:
    """Returns name -> reward and weight of an option such as `answer=2,mymodule.polite=0.5`.

    A name with a dot is a user's function, imported from the working folder or the environment:
    from completions and reference answers, both lists of strings, to one number each.

    Args:
        allow_code: Whether `code` may run what the model wrote, in a sandbox.
        unsafe: Whether it may do so where there is none.

    Raises:
        UsageError: An unknown name, a bad weight, a path that leads to no function, or `code`
            without permission.
        LoraparError: `code` was asked for and this machine offers no sandbox, or `latex` and
            math-verify is not installed.
    """
    names = [part.partition("=")[0].strip() for part in text.split(",")]
    dotted = [name for name in names if "." in name]
    weights = parse_weights(text, also=[*dotted, CODE, LATEX])
    special = {name: _import(name) for name in weights if name in dotted}
    if CODE in weights:
        special[CODE] = _code(allow_code, unsafe)
    if LATEX in weights:
        special[LATEX] = _latex()
    return {name: (special.get(name) or REWARDS[name], w) for name, w in weights.items()}


def _code(allow: bool, unsafe: bool) -> Reward:
    if not (allow or unsafe):
        raise UsageError(
            "reward `code` runs programs that the model writes",
            hint="allow it with `--allow-code-execution`; they run in a sandbox",
        )
    from lorapar_cli.hub.code_reward import code_reward
    from lorapar_cli.hub.sandbox import find_backend

    return code_reward(find_backend(unsafe))


def _latex() -> Reward:
    from lorapar_cli.hub.latex import check_latex, latex

    check_latex()
    return latex


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
