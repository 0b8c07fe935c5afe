"""How an option is stated: once, as a field of its stage's options dataclass.

Command line, YAML keys, manifest, `docs/commands.md` and the stage's argument all derive from that
field: its name, annotation, default, range and line of documentation. Standard library only.
"""

import functools
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from lorapar_cli.errors import UsageError, nearest
from lorapar_cli.finite import is_finite
from lorapar_cli.limits import (
    LARGEST_CODE_MEMORY,
    LARGEST_CODE_TIMEOUT,
    LARGEST_NUMBER,
    LARGEST_SEED,
)
from lorapar_cli.text_safety import holds_key

_KEY = "option"
UNCHANGED = object()
"""Of an option whose default makes the same results as those that are older than the option."""


@dataclass(frozen=True)
class Statement:
    """What a field says of its option besides name, annotation and default.

    Attributes:
        doc: One or two sentences for `--help` and the command reference: meaning, unit, and the
            paper's symbol where it has one.
        at_least, at_most: Inclusive range of a number; None for no limit.
        above, below: Exclusive limits; None for none.
        panel: Heading of `--help` under which the option stands; None for the main one.
        flag: Name on the command line where it is not the field's name with dashes.
        alias: Second name on the command line; None for none.
        metavar: Placeholder of the value in `--help`.
        argument: Whether it is positional.
        repeatable: Whether a tuple is given by repeating the option; else separated by commas.
        recorded: Whether the manifest holds the value as it stands here.
        decides: Whether a result depends on the value, so that another one means another result.
        earlier: What results that are older than the option count as made with; the default if
            `UNCHANGED`.
        trainer: Name of the TRL or transformers trainer argument that it sets; None for none.
    """

    doc: str
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    panel: str | None = None
    flag: str | None = None
    alias: str | None = None
    metavar: str | None = None
    argument: bool = False
    repeatable: bool = False
    recorded: bool = True
    decides: bool = True
    earlier: Any = UNCHANGED
    trainer: str | None = None


def option(default: Any, doc: str, **details: Any) -> Any:
    """Returns a dataclass field that states an option; `details` are those of `Statement`."""
    return field(default=default, metadata={_KEY: Statement(doc, **details)})


def required(doc: str, **details: Any) -> Any:
    """Returns a dataclass field that states an option or argument without a default."""
    return field(metadata={_KEY: Statement(doc, **details)})


@dataclass(frozen=True)
class Option:
    """One option of a dataclass, resolved.

    Attributes:
        name: The field's, which is the YAML key and the manifest's key.
        kind: Type of a value that is not None: `str`, `int`, `float`, `bool`, `Path`, `tuple`.
        choices: The only values of a `Literal`, empty for others.
        item: Type of each value of a tuple, None for others.
        optional: Whether None is a value.
        default: `dataclasses.MISSING` where there is none.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    item: type | None
    optional: bool
    default: Any
    stated: Statement

    @property
    def flag(self) -> str:
        """The option as it is typed, `--learning-rate`; an argument's name as it stands."""
        if self.stated.argument:
            return self.name
        return self.stated.flag or "--" + self.name.strip("_").replace("_", "-")


def options_of(options_class: type) -> list[Option]:
    """Returns the options that a dataclass states, in the order of its fields.

    A subclass that gives a field another default, `epochs: float = 2.0`, keeps what the base class
    states of it.
    """
    return list(_read_options(options_class))


@functools.cache
def _read_options(options_class: type) -> tuple[Option, ...]:
    hints = typing.get_type_hints(options_class)
    return tuple(
        _resolve(each, stated, hints[each.name])
        for each in fields(options_class)
        if (stated := _find_statement(options_class, each.name)) is not None
    )


def _find_statement(options_class: type, name: str) -> Statement | None:
    for each in options_class.__mro__:
        own = each.__dict__.get("__dataclass_fields__", {}).get(name)
        if own is not None and _KEY in own.metadata:
            return own.metadata[_KEY]
    return None


def _resolve(own: Field[Any], stated: Statement, hint: Any) -> Option:
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = [part for part in typing.get_args(hint) if part is not type(None)]
        optional = True
    choices: tuple[str, ...] = ()
    if typing.get_origin(hint) is Literal:
        choices, hint = typing.get_args(hint), str
    kind = typing.get_origin(hint) or hint
    item = typing.get_args(hint)[0] if kind is tuple else None
    return Option(own.name, kind, choices, item, optional, own.default, stated)


@dataclass(frozen=True)
class Options:
    """A stage's options: the dataclasses of the wings derive from it and state their fields.

    Raises:
        UsageError: A value is of another type, out of range, not finite or not among the choices;
            every such value in one message.
    """

    def __post_init__(self) -> None:
        problems = [
            problem
            for each in options_of(type(self))
            if (problem := find_problem(each, getattr(self, each.name)))
        ]
        if problems:
            first, *more = problems
            what = first if not more else f"{len(problems)} options have values that cannot be used"
            raise UsageError(what, "\n".join(problems) if more else None)

    def settings(self, **resolved: Any) -> dict[str, Any]:
        """Returns the values that the manifest records, in the order of the fields.

        Args:
            resolved: Values that the stage found, by field: they are recorded instead of what the
                user gave, whether or not the field is.
        """
        return {
            each.name: resolved.get(each.name, getattr(self, each.name))
            for each in options_of(type(self))
            if each.stated.recorded or each.name in resolved
        }

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> typing.Self:
        """Returns the options among `values`, which may hold other names too."""
        return cls(
            **{each.name: values[each.name] for each in options_of(cls) if each.name in values}
        )


def as_recorded(default: Any) -> Any:
    """Returns an option's default as a manifest holds it; None where there is none."""
    if isinstance(default, tuple):
        return list(default)
    return None if default is MISSING else str(default) if isinstance(default, Path) else default


def fill_defaults(
    settings: Mapping[str, Any], kind: type[Options], names: Iterable[str] | None = None
) -> dict[str, Any]:
    """Returns recorded settings, and the values that stand for options that did not exist then.

    These are the options' defaults, or what an option states as `earlier`.

    Args:
        names: Of the settings to fill; None for all that a manifest records.
    """
    wanted = None if names is None else set(names)
    return {
        each.name: as_recorded(
            each.default if each.stated.earlier is UNCHANGED else each.stated.earlier
        )
        for each in options_of(kind)
        if each.default is not MISSING
        and (each.stated.recorded if wanted is None else each.name in wanted)
    } | dict(settings)


def find_problem(each: Option, value: Any) -> str | None:
    """Returns what is wrong with a value of an option, or None."""
    if value is None:
        return None if each.optional else f"`{each.flag}` needs a value"
    # Names of teachers are examined where they are taken apart, with a remedy of their own.
    if each.name != "teachers" and any(map(holds_key, _texts(value))):
        return (
            f"`{each.flag}` has a value that looks like a key; keys are read from the environment"
        )
    if each.choices and value not in each.choices:
        return (
            f"`{each.flag}` has no `{value}`{nearest(str(value), [*each.choices])}; it is one of "
            + ", ".join(f"`{choice}`" for choice in each.choices)
        )
    if not _is_of(each.kind, value):
        return f"`{each.flag}` takes a value of type {each.kind.__name__}, not {value!r}"
    parts = [value]
    if each.item is not None:
        parts = list(value)
        if wrong := [part for part in parts if not _is_of(each.item, part)]:
            return f"`{each.flag}` takes values of type {each.item.__name__}, not {wrong[0]!r}"
    numbers = [part for part in parts if _is_of(float, part)]
    return next((found for number in numbers if (found := _out_of_range(each, number))), None)


def _texts(value: Any) -> list[str]:
    parts = value if isinstance(value, tuple | list) else [value]
    return [str(part) for part in parts if isinstance(part, str | Path)]


def _is_of(kind: type, value: Any) -> bool:
    # A whole number is a float's value too; booleans, which Python counts as integers, are neither.
    accepted = (int, float) if kind is float else (kind,)
    return isinstance(value, accepted) and not (isinstance(value, bool) and kind is not bool)


def _out_of_range(each: Option, value: float) -> str | None:
    stated = each.stated
    if not is_finite(value):
        return f"`{each.flag}` is not a finite number: {value}"
    too_low = (stated.at_least is not None and value < stated.at_least) or (
        stated.above is not None and value <= stated.above
    )
    too_high = (stated.at_most is not None and value > stated.at_most) or (
        stated.below is not None and value >= stated.below
    )
    if too_low or too_high:
        return f"`{each.flag}` must be {range_in_words(stated)}, not {value:g}"
    # Of other numbers, such as rates, training says that they make it diverge.
    if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        return f"`{each.flag}` is larger than any number that means something here: {value:g}"
    return None


def range_in_words(stated: Statement) -> str:
    """Returns "above 0 and at most 1" and the like; an empty string where all numbers are allowed."""
    parts = [
        f"{words} {in_digits(limit)}"
        for words, limit in (
            ("above", stated.above),
            ("at least", stated.at_least),
            ("at most", stated.at_most),
            ("below", stated.below),
        )
        if limit is not None
    ]
    return " and ".join(parts)


def in_digits(number: float) -> str:
    """Returns a limit as people write it: `4,294,967,295`, `0.01`."""
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


# Options that several stages have, each stated here once; those on the base model are in
# `model_options`.


def seed_option(**details: Any) -> Any:
    """Returns the field of a stage's `--seed`; `details` are those of `Statement`."""
    return option(
        0,
        "Seed of everything random in this stage.",
        at_least=0,
        at_most=LARGEST_SEED,
        **details,
    )


def out_option() -> Any:
    """Returns the field of `--out`."""
    return option(
        None,
        "Stage folder to write. Default: in the run directory.",
        panel="Where",
        recorded=False,
    )


def code_packages_option() -> Any:
    """Returns the field of `--code-packages`."""
    return option(
        (),
        "Installed packages that generated programs and their tests may import, comma-separated: "
        "`numpy` for HumanEval+. Default: the standard library only.",
    )


def code_timeout_option() -> Any:
    """Returns the field of `--code-timeout`."""
    return option(
        10.0,
        "Seconds after which a generated program has failed its tests.",
        at_least=0.1,
        at_most=LARGEST_CODE_TIMEOUT,
    )


def code_memory_option() -> Any:
    """Returns the field of `--code-memory`."""
    return option(
        512,
        "Address space of a generated program, in MiB.",
        at_least=64,
        at_most=LARGEST_CODE_MEMORY,
    )
