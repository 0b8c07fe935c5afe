"""Rewards by name or by dotted path, checked each time they are called."""

import asyncio
import importlib
import inspect
import math
import os
import sys
from collections.abc import Sequence
from typing import Any

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.grading.latex import check_latex, latex
from lorapar_cli.grading.sandbox.runner import find_backend
from lorapar_cli.training.rewards.builtin import REWARDS, Reward, parse_weights
from lorapar_cli.training.rewards.code import code_reward

CODE, LATEX = "code", "latex"


def resolve_rewards(
    text: str, allow_code: bool = False, unsafe: bool = False
) -> dict[str, tuple[Reward, float]]:
    """Returns name -> reward and weight of an option such as `answer=2,mymodule.polite=0.5`.

    A name with a dot is a user's function, imported from the working folder or the environment;
    `checked_rewards` says how it is called.

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

    return code_reward(find_backend(unsafe))


def _latex() -> Reward:

    check_latex()
    return latex


def _import(path: str) -> Reward:
    module, _, name = path.rpartition(".")
    # The command may be installed elsewhere; a user's module lies where the command is typed.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        reward = getattr(importlib.import_module(module), name)
    except Exception as cause:
        raise UsageError(
            f"cannot import reward `{path}`",
            f"{type(cause).__name__}: {cause}",
            "give `module.function`, importable from here",
        ) from cause
    if not callable(reward):
        raise UsageError(f"reward `{path}` is no function", type(reward).__name__)
    return reward


def checked_rewards(
    name: str,
    reward: Reward,
    texts: list[str],
    references: list[str | None],
    columns: dict[str, Any] | None = None,
) -> list[float]:
    """Returns the reward's values, one finite number a completion.

    A function whose parameters are all known by name is called by name, as TRL calls rewards, so
    that functions written for TRL work: `completions`, `references` (also `reference_answer`), and
    what is in `columns`. Any other is called with completions and references in this order. Both
    may be coroutine functions.

    Args:
        columns: What TRL gives further, `prompts` and `record_id` among them.

    Raises:
        LoraparError: The reward raised, or gave something else; names it.
    """
    known = (columns or {}) | {
        "completions": texts,
        "references": references,
        "reference_answer": references,
    }
    wanted = _wanted_names(reward, known)
    try:
        if wanted is None:
            given = reward(texts, references)
        else:
            given = reward(**{key: known[key] for key in wanted})
        if inspect.iscoroutine(given):
            given = asyncio.run(given)
        values = [_to_number(value) for value in given]
    except (Exception, SystemExit) as cause:
        raise LoraparError(f"reward `{name}` failed", f"{type(cause).__name__}: {cause}") from cause
    if len(values) != len(texts):
        raise LoraparError(
            f"reward `{name}` gave {len(values)} values for {len(texts)} completions"
        )
    if bad := [value for value in values if not math.isfinite(value)]:
        raise LoraparError(f"reward `{name}` gave {bad[0]}", hint="rewards are finite numbers")
    return values


def _wanted_names(reward: Reward, known: dict[str, Any]) -> Sequence[str] | None:
    """Returns what a function takes by name, None where it takes something that is not known."""
    try:
        parameters = inspect.signature(reward).parameters.values()
    except (TypeError, ValueError):  # Some that are written in C have none.
        return None
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = {p.name for p in named if p.default is p.empty}
    if not ("completions" in needed and needed <= known.keys()):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return list(known)
    return [p.name for p in named if p.name in known]


def _to_number(value: Any) -> float:
    if isinstance(value, str | bytes):
        raise TypeError(f"{value!r} is no number")
    return float(value)
