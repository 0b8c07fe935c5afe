"""Options of commands besides those of stages, and how values are read from the command line."""

import os
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from lorapar_cli.errors import UsageError, nearest
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR

_RUN_DIR_VARIABLE = "LORAPAR_RUN_DIR"

RunDirOption = Annotated[
    Path,
    typer.Option(
        envvar=_RUN_DIR_VARIABLE,
        help="Run directory, with one folder per stage.",
        rich_help_panel="Where",
    ),
]

JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON to stdout instead of tables."),
]


def next_on(run_dir: Path, command: str) -> str:
    """Returns a command as it is to be typed next for the same run directory, in the same shell."""
    unasked = os.environ.get(_RUN_DIR_VARIABLE) or DEFAULT_RUN_DIR
    return (
        command if run_dir == Path(unasked) else f"{command} --run-dir {shlex.quote(str(run_dir))}"
    )


def given_options(ctx: typer.Context) -> list[str]:
    """Returns the names of the options that the user gave, as opposed to defaults."""
    return sorted(
        name
        for name in ctx.params
        if (source := ctx.get_parameter_source(name)) is not None and source.name != "DEFAULT"
    )


def describe_refusal(error: typer.TyperException) -> str:
    """Returns what typer refuses, without a period and with the nearest of an option's choices."""
    message = error.format_message().rstrip(".")
    choices = getattr(getattr(getattr(error, "param", None), "type", None), "choices", ())
    refused = re.search(r"'([^']*)' is not one of ", message)
    return message + (nearest(refused[1], list(choices)) if refused else "")


def split_list(text: str, option: str) -> list[str]:
    """Returns the parts of a comma-separated option without blanks.

    Raises:
        UsageError: Nothing is left, or a part is named twice.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError(f"`{option}` names nothing", repr(text))
    if len(set(parts)) < len(parts):
        raise UsageError(f"`{option}` names something twice", text)
    return parts
