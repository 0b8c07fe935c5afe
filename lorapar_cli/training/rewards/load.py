"""Rewards by name or by dotted path, checked each time they are called."""

import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.grading.latex import check_latex, latex
from lorapar_cli.grading.sandbox.packages import find_packages
from lorapar_cli.grading.sandbox.runner import Limits, Sandbox, find_backend
from lorapar_cli.models.rendering.blocks import as_read
from lorapar_cli.plurals import counted
from lorapar_cli.training.rewards.builtin import REWARDS, Reward, parse_weights
from lorapar_cli.training.rewards.code import code_reward
from lorapar_cli.training.rewards.names import CODE, LATEX
from lorapar_cli.waiting import run_to_end

UserReward = Callable[..., Any]
"""A reward as users and TRL write it; `call_reward` says how it is called."""
# Their references are answers, of which several may be accepted.
_COMPARING: tuple[Reward, ...] = (REWARDS["answer"], REWARDS["choice"], latex)
WeightedRewards = dict[str, tuple[Reward | UserReward, float]]


def resolve_rewards(
    text: str,
    allow_code: bool = False,
    unsafe_code: bool = False,
    limits: Limits | None = None,
    packages: Sequence[str] = (),
) -> WeightedRewards:
    """Returns name -> reward and weight of an option such as `answer=2,mymodule.polite=0.5`.

    A name with a dot is a user's function, imported from the working folder or the environment.

    Args:
        allow_code: Whether `code` may run generated programs in a sandbox.
        unsafe_code: Whether it may run them without one where none is available.
        limits: What one program may use; None for the defaults.
        packages: Names of the installed packages that programs may import.

    Raises:
        UsageError: An unknown name, a bad weight, a path that does not lead to a function, or
            `code` without permission.
        LoraparError: `code` is named and no sandbox is available, or `latex` and math-verify is not
            installed.
    """
    names = [part.partition("=")[0].strip() for part in text.split(",")]
    dotted = [name for name in names if "." in name]
    rewards: WeightedRewards = {}
    for name, weight in parse_weights(text, also=dotted).items():
        if name in dotted:
            rewards[name] = _import(name), weight
        elif name == CODE:
            rewards[name] = _code(allow_code, unsafe_code, limits or Limits(), packages), weight
        elif name == LATEX:
            check_latex()
            rewards[name] = latex, weight
        else:
            rewards[name] = REWARDS[name], weight
    return rewards


def _code(allow: bool, unsafe: bool, limits: Limits, packages: Sequence[str]) -> Reward:
    if not (allow or unsafe):
        raise UsageError(
            "reward `code` runs programs that the model writes",
            hint="allow it with `--allow-code-execution`; they run in a sandbox",
        )
    return code_reward(Sandbox(find_backend(unsafe), limits, find_packages(packages)))


def _import(path: str) -> UserReward:
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
            "give `module.function`, importable from the working folder",
        ) from cause
    if not callable(reward):
        raise UsageError(f"reward `{path}` is not a function", type(reward).__name__)
    return reward


def call_reward(
    name: str,
    reward: Reward | UserReward,
    completions: list[str],
    references: list[str | None],
    columns: dict[str, Any] | None = None,
    finished: Sequence[bool] | None = None,
) -> list[float]:
    """Returns the reward's values, one finite number per completion.

    A function whose required parameters are all known by name is called by name, as TRL calls
    rewards, so that functions written for TRL work: `completions`, `references` (also
    `reference_answer`), `reference_answers`, and what is in `columns`. Any other is called with
    completions and references in this order. Both may be coroutine functions.

    Args:
        references: Of each completion the first answer that is accepted, None where none is known.
        columns: What TRL passes besides, `prompts` and `record_id` among it, and all accepted
            answers as `reference_answers`; without that, `references` are all. `in_block` says
            whether a completion began inside a block of reasoning.
        finished: Whether each completion ended by itself; None if all did. Rewards by name read
            no answer from a thought that was truncated; a user's own get what was written.

    Raises:
        LoraparError: The reward raised, or returned something else; names it.
    """
    if "." not in name and columns is not None and finished is not None:
        completions = [
            as_read(*each) for each in zip(completions, columns["in_block"], finished, strict=True)
        ]
    answers = [[] if reference is None else [reference] for reference in references]
    known: dict[str, Any] = {
        "reference_answers": answers,
        **(columns or {}),
        "completions": completions,
        "references": references,
        "reference_answer": references,
    }
    called: UserReward = _accept_any(reward) if reward in _COMPARING else reward
    wanted = _wanted_names(called, known)
    try:
        if wanted is None:
            returned = called(completions, references)
        else:
            returned = called(**{key: known[key] for key in wanted})
        if inspect.iscoroutine(returned):
            returned = run_to_end(returned)
        values = [_to_number(value) for value in returned]
    except (Exception, SystemExit) as cause:
        raise LoraparError(f"reward `{name}` failed", f"{type(cause).__name__}: {cause}") from cause
    if len(values) != len(completions):
        raise LoraparError(
            f"reward `{name}` returned {counted(len(values), 'value')} for "
            f"{counted(len(completions), 'completion')}"
        )
    if bad := [value for value in values if not math.isfinite(value)]:
        raise LoraparError(f"reward `{name}` returned {bad[0]}", hint="rewards are finite numbers")
    return values


def _accept_any(reward: Reward) -> UserReward:
    """Returns the reward by all accepted answers: the largest value that one of them gives."""

    def compute(completions: list[str], reference_answers: list[list[str]]) -> list[float]:
        rows: list[Sequence[str | None]] = [answers or [None] for answers in reference_answers]
        texts = [text for text, row in zip(completions, rows, strict=True) for _ in range(len(row))]
        values = iter(reward(texts, [answer for row in rows for answer in row]))
        return [max(islice(values, len(row))) for row in rows]

    return compute


def _wanted_names(reward: UserReward, known: dict[str, Any]) -> Sequence[str] | None:
    """Returns what a function takes by name, None if it requires something that is not known."""
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
        raise TypeError(f"{value!r} is not a number")
    return float(value)
