"""What the short names of a grid file stand for: axes of the paper's tables, and methods."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lorapar_cli.comparison.cells import as_option_value
from lorapar_cli.errors import nearest
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.names import TARGET_MODULES, Stage
from lorapar_cli.options import Option, Options, find_problem, options_of
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.training.options import RlOptions, SftOptions

Method = Literal["lora-par", "lora", "base", "prompt-tuning", "p-tuning", "prefix-tuning", "ia3"]
Order = Literal["sft-rl", "rl-sft", "sft", "rl", "sft-sft", "none"]
METHODS: tuple[str, ...] = get_args(Method)
ORDERS: tuple[str, ...] = get_args(Order)
PEFT_METHODS = ("prompt-tuning", "p-tuning", "prefix-tuning", "ia3")
"""Methods that PEFT trains, without a mask and by SFT only."""

OPTIONS: dict[Stage, type[Options]] = {
    Stage.CLASSIFY: ClassifyOptions,
    Stage.SCORE: ScoreOptions,
    Stage.PARTITION: PartitionOptions,
    Stage.TRAIN_SFT: SftOptions,
    Stage.TRAIN_RL: RlOptions,
    Stage.EVAL: EvalOptions,
}
# What decides where a stage reads and writes, and what the grid gives to all of them.
_NOT_OF_GRIDS = {
    *("model", "splits", "importance", "mask", "from_", "adapter", "out", "overwrite", "dry_run"),
    *("seed", "trust_remote_code", "report_to", "show_tokens", "completions", "name"),
    *("allow_code_execution", "unsafe_code_execution"),
}
EXCLUDED = frozenset(_NOT_OF_GRIDS)
"""Options that a section of a grid file may not have."""

MODULES = {
    "QKV": TARGET_MODULES[:3],
    "GUD": TARGET_MODULES[3:],
    "QKVGUD": TARGET_MODULES,
}
"""The paper's names for sets of target modules."""

RULES = ("rules-operations", "rules-cues", "rules-shape")

_SHORT: dict[str, tuple[Stage, str]] = {
    "theta": (Stage.PARTITION, "theta"),
    "alpha": (Stage.PARTITION, "alpha"),
    "beta": (Stage.PARTITION, "beta"),
    "select": (Stage.PARTITION, "select"),
    "scope": (Stage.PARTITION, "scope"),
    "protect": (Stage.PARTITION, "protect"),
    "targets": (Stage.SCORE, "target_modules"),
    "init": (Stage.SCORE, "init"),
    "init-scale": (Stage.SCORE, "init_scale"),
    "rank": (Stage.SCORE, "r"),
    "rule": (Stage.SCORE, "rule"),
    "formula": (Stage.SCORE, "formula"),
}
SPECIAL = ("splitter", "method", "order", "virtual-tokens")
SHORT_NAMES = (*_SHORT, *SPECIAL)
"""Names that a grid file may give values to wherever settings stand."""

ALL_RECORDS = "all"
MOST_VIRTUAL_TOKENS = 10_000


@dataclass(frozen=True)
class Setting:
    """One value of a short name, or of `stage.option`, checked.

    Attributes:
        name: As the file has it, with dashes.
        value: As the option takes it.
        label: As tables show it.
    """

    name: str
    value: Any
    label: str

    def apply(self, draft: "Draft") -> None:
        """Enters the value into the settings of a cell."""
        if self.name == "splitter":
            _apply_splitter(self.value, draft)
        elif self.name in SPECIAL:
            draft.special[self.name] = self.value
        else:
            stage, option = _place(self.name)
            draft.sections.setdefault(stage, {})[option] = self.value


@dataclass
class Draft:
    """The settings of a cell while they are put together.

    Attributes:
        sections: Stage -> options.
        special: Method, order, number of virtual tokens, and whether records are split.
    """

    sections: dict[Stage, dict[str, Any]]
    special: dict[str, Any]


def option_of_short_name(name: str) -> Option:
    """Returns the option that a short name other than the special ones stands for."""
    stage, option = _SHORT[name]
    return next(each for each in options_of(OPTIONS[stage]) if each.name == option)


def is_setting(key: str) -> bool:
    """Returns whether a key, with dashes, is a short name or has the form `stage.option`."""
    return key in SHORT_NAMES or "." in key


def read_setting(key: str, value: Any, place: str, problems: list[str]) -> Setting:
    """Returns a value of a short name or of `stage.option`.

    Args:
        place: Where it stands, for messages.
        problems: Where a sentence is added if name or value cannot be used.
    """
    label = label_of(value)
    if key in _SPECIAL_CHECKS:
        if (problem := _SPECIAL_CHECKS[key](value)) is not None:
            problems.append(f"`{place}`: {problem}")
        return Setting(key, value, label)
    option = _option_of(key, place, problems)
    if option is None:
        return Setting(key, value, label)
    if key == "targets" and isinstance(value, str):
        value = MODULES.get(value, value)
    chosen = as_option_value(option.kind, value)
    if (problem := find_problem(option, chosen)) is not None:
        problems.append(f"`{place}`: {problem}")
    return Setting(key, chosen, label)


def _option_of(key: str, place: str, problems: list[str]) -> Option | None:
    """Returns the option that a name stands for, or None with what is wrong added to `problems`."""
    if key not in _SHORT:
        stage = key.partition(".")[0]
        if stage not in OPTIONS:
            problems.append(f"`{place}`: no stage is `{stage}`{nearest(stage, [*OPTIONS])}")
            return None
    found, name = _place(key)
    known = {each.name: each for each in options_of(OPTIONS[found]) if each.name not in EXCLUDED}
    if name not in known:
        problems.append(f"`{place}`: `{found}` has no `{name}`{nearest(name, sorted(known))}")
    return known.get(name)


def _place(key: str) -> tuple[Stage, str]:
    if key in _SHORT:
        return _SHORT[key]
    stage, _, option = key.partition(".")
    return Stage(stage), option.replace("-", "_")


def label_of(value: Any) -> str:
    """Returns a value as tables show it."""
    if isinstance(value, list | tuple):
        return "+".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _apply_splitter(value: Any, draft: Draft) -> None:
    """Enters how records are divided between the systems."""
    own = draft.sections.setdefault(Stage.CLASSIFY, {})
    for key in ("teachers", "strategy", "review"):
        own.pop(key, None)
    draft.special["split"] = value != ALL_RECORDS
    if value in ("random", ALL_RECORDS):
        own["strategy"] = "random"
    elif value == "labels" or str(value).startswith("labels:"):
        named = str(value).partition(":")[2]
        own["strategy"] = "random"
        # Reviewed labels override drawn ones; the data itself may hold them.
        own["review"] = Path(named or (own.get("data") or ["data"])[0])
    else:
        own["teachers"] = RULES if value == "rules" else as_option_value(tuple, value)


def _check_splitter(value: Any) -> str | None:
    is_list = isinstance(value, list) and all(isinstance(each, str) for each in value)
    if value and (isinstance(value, str) or is_list):
        return None
    return f"{value!r} is neither `random`, `all`, `labels`, `rules` nor names of teachers"


def _one_of(known: tuple[str, ...]) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if value in known:
            return None
        return f"{value!r} is none of {', '.join(known)}{nearest(str(value), [*known])}"

    return check


def _check_virtual_tokens(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_VIRTUAL_TOKENS:
        return None
    return f"{value!r} is not a whole number from 1 to {MOST_VIRTUAL_TOKENS:,}"


_SPECIAL_CHECKS: Mapping[str, Callable[[Any], str | None]] = {
    "splitter": _check_splitter,
    "method": _one_of(METHODS),
    "order": _one_of(ORDERS),
    "virtual-tokens": _check_virtual_tokens,
}
