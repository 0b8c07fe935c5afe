"""From a stage's options dataclass to its command: each field becomes one typer option."""

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from lorapar_cli.cli.options import split_list
from lorapar_cli.errors import UsageError
from lorapar_cli.options import Option, Options, options_of, range_in_words

Chosen = TypeVar("Chosen", bound=Options)


def stage_command(
    options_class: type[Options],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Returns a decorator that turns a parameter `options` into the options that its class states.

    The command is called with an instance of `options_class`; its other parameters stay, behind
    the options in the order of their own.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(command)
        others = [p for p in own.parameters.values() if p.name != "options"]

        @functools.wraps(command)
        def called(**values: Any) -> Any:
            kept = {p.name: values[p.name] for p in others}
            return command(options=read_options(options_class, values), **kept)

        # A stable sort: options without a panel first, whichever class of a hierarchy states them.
        options = sorted(options_of(options_class), key=lambda each: each.stated.panel is not None)
        stated = [_parameter(each) for each in options]
        context = [p for p in others if p.annotation is typer.Context]
        rest = [p for p in others if p.annotation is not typer.Context]
        parameters = [
            p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*context, *stated, *rest)
        ]
        called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        return called

    return decorate


def read_options(options_class: type[Chosen], values: dict[str, Any]) -> Chosen:
    """Returns the options from a command's parsed values, which may hold others too.

    Raises:
        UsageError: A value cannot be used.
    """
    return options_class(
        **{each.name: _read(each, values[each.name]) for each in options_of(options_class)}
    )


def _read(each: Option, value: Any) -> Any:
    if value is None:
        return each.default
    if each.kind is Path:
        # Parsed, and not yet called: a configuration is checked before its commands are.
        return Path(value)
    if each.kind is not tuple:
        return value
    if value == "" and not each.default:
        return ()
    parts: Iterable[str] = value if each.stated.repeatable else split_list(value, each.flag)
    return tuple(_read_item(each, part) for part in parts)


def _read_item(each: Option, part: str) -> Any:
    """Returns one of the values of a tuple.

    Raises:
        UsageError: It is not of their type.
    """
    if each.item not in (int, float):
        return part
    try:
        return each.item(part)
    except ValueError as cause:
        numbers = "whole numbers" if each.item is int else "numbers"
        raise UsageError(f"`{each.flag}` takes {numbers}, comma-separated", repr(part)) from cause


def _parameter(each: Option) -> inspect.Parameter:
    """Returns the parameter that typer reads an option from."""
    default: Any = inspect.Parameter.empty if each.default is MISSING else each.default
    kind: Any = each.kind
    if each.choices:
        kind = Literal[each.choices]
    elif each.kind is tuple and each.stated.repeatable:
        kind = list[str]
        default = default if each.default is MISSING else list(each.default)
    elif each.kind is tuple:
        kind = str
        default = ",".join(map(str, each.default)) if each.default else None
    if each.optional or (each.kind is tuple and default is None):
        kind = kind | None
    return inspect.Parameter(
        each.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, _typer_info(each)],
    )


def _typer_info(each: Option) -> Any:
    stated = each.stated
    exclusive = stated.above is not None or stated.below is not None
    if stated.argument:
        return typer.Argument(help=stated.doc, metavar=stated.metavar, show_default=False)
    flags = []
    if each.kind is bool and each.default is True:
        flags = [f"{each.flag}/--no-{each.flag.removeprefix('--')}"]
    elif stated.flag or stated.alias or each.kind is bool:
        flags = [each.flag, *([stated.alias] if stated.alias else [])]
    return typer.Option(
        *flags,
        # Typer knows no exclusive limit: the options dataclass alone refuses what is out of range.
        help=f"{stated.doc} {range_in_words(stated).capitalize()}." if exclusive else stated.doc,
        min=None if exclusive else stated.at_least,
        max=None if exclusive else stated.at_most,
        metavar=stated.metavar,
        rich_help_panel=stated.panel,
    )
