"""Options of the training stages by the names that TRL's trainer configurations have for them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

from lorapar_cli.errors import UsageError
from lorapar_cli.options import Option, find_problem, options_of
from lorapar_cli.store.yaml_file import parse_yaml
from lorapar_cli.training.options import TrainingOptions, argument_name

Chosen = TypeVar("Chosen", bound=TrainingOptions)


def adopt_options(options: Chosen, given: Sequence[str]) -> Chosen:
    """Returns the options with what `training` says of them under the trainer's names moved there.

    So a value counts the same, in checks and in the manifest, whichever name it was given by.

    Args:
        given: Names of the options that the user gave themselves.

    Raises:
        UsageError: An option cannot have the value, or was given by both names, or a learning rate
            is both given and to be found.
    """
    named = {argument_name(pair) for pair in options.training} | set(given)
    if options.find_lr and "learning_rate" in named:
        raise UsageError(
            "`--find-lr` and `--learning-rate` are both given",
            hint="omit `--find-lr` to train at this rate, or `--learning-rate` to search for one",
        )
    by_argument = {
        each.stated.trainer: each
        for each in options_of(type(options))
        if each.stated.trainer is not None
    }
    moved: dict[str, Any] = {}
    rest, problems = [], []
    for pair in options.training:
        _, equals, text = pair.partition("=")
        each = by_argument.get(argument_name(pair))
        if not equals or each is None:
            rest.append(pair)
        elif each.name in given:
            problems.append(f"`{argument_name(pair)}` and `{each.flag}` are both given")
        else:
            try:
                moved[each.name] = _read(each, text)
            except ValueError as problem:
                problems.append(f"`{pair}`: {problem}")
    if problems:
        raise UsageError("training arguments do not fit the options", "\n".join(problems))
    return dataclasses.replace(options, **moved, training=tuple(rest))


def _read(each: Option, text: str) -> Any:
    """Returns the text, read as YAML, as a value of the option.

    Raises:
        ValueError: It is not one.
    """
    try:
        value = parse_yaml(text)
    except ValueError as cause:
        raise ValueError("is not valid YAML") from cause
    if each.kind is float:
        value = to_float(value)
    if (problem := find_problem(each, value)) is not None:
        raise ValueError(problem)
    return value


def to_float(value: Any) -> Any:
    """Returns a value read as YAML as a float, or as it is where it does not stand for a number.

    YAML 1.1 reads `1e-4` as text and `2` as an integer.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    try:
        return float(value)
    except ValueError:
        return value
