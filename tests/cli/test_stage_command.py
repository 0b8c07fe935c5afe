"""Commands made from options: how a field becomes an option, and what its value becomes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer

from lorapar_cli.cli import main
from lorapar_cli.cli.stage_command import read_options, stage_command
from lorapar_cli.errors import UsageError
from lorapar_cli.options import Options, option, required


@dataclass(frozen=True)
class Sample(Options):
    data: str = required("Data.", argument=True)
    r: int = option(8, "Rank.", flag="--r", alias="--rank", at_least=1)
    way: Literal["fast", "slow"] = option("fast", "Way.")
    modules: tuple[str, ...] = option(("a", "b"), "Modules.")
    reward: tuple[str, ...] = option((), "Reward.", repeatable=True)
    packing: bool = option(False, "Packing.")
    out: Path | None = option(None, "Out.")


@pytest.fixture
def call():
    """Calls a command of these options; returns what it was called with."""
    app, called = typer.Typer(), []

    @app.command()
    @stage_command(Sample)
    def sample(
        ctx: typer.Context, options: Sample, loud: Annotated[bool, typer.Option("--loud")] = False
    ) -> None:
        called.append((options, loud))

    def run(*arguments: str) -> tuple[Sample, bool]:
        app(list(arguments), standalone_mode=False)
        return called.pop()

    return run


def test_defaults_are_those_of_the_fields(call):
    assert call("d") == (Sample("d"), False)


def test_each_kind_of_option_is_read(call):
    options, loud = call(
        *("d", "--rank", "4", "--way", "slow", "--modules", "q, v", "--reward", "x"),
        *("--reward", "y", "--packing", "--out", "there", "--loud"),
    )
    assert options == Sample("d", 4, "slow", ("q", "v"), ("x", "y"), True, Path("there"))
    assert loud


@pytest.mark.parametrize("flag", ["--r", "--rank"])
def test_an_alias_is_a_second_name(call, flag):
    assert call("d", flag, "2")[0].r == 2


@pytest.mark.parametrize("arguments", [("--r", "0"), ("--way", "best"), ("--rnak", "2")])
def test_what_cannot_be_used_is_refused(call, arguments):
    with pytest.raises(typer.TyperException):
        call("d", *arguments)


@dataclass(frozen=True)
class Lists(Options):
    names: tuple[str, ...] = option((), "Names.")
    modules: tuple[str, ...] = option(("q", "v"), "Modules.")
    count: int | None = option(None, "Count.")


@pytest.mark.parametrize("given", [None, ""])
def test_a_list_that_may_be_empty_is_empty_when_nothing_is_named(given):
    assert read_options(Lists, {"names": given, "modules": "q", "count": None}) == Lists(
        (), ("q",), None
    )


def test_lists_are_separated_by_commas():
    read = read_options(Lists, {"names": "a, b,", "modules": "k", "count": 2})
    assert read == Lists(("a", "b"), ("k",), 2)


def test_a_list_with_a_default_cannot_be_emptied():
    with pytest.raises(UsageError, match="`--modules` names nothing"):
        read_options(Lists, {"names": None, "modules": "", "count": None})


@dataclass(frozen=True)
class Numbers(Options):
    sizes: tuple[int, ...] = option((1, 2), "Sizes.", at_least=1)
    shares: tuple[float, ...] | None = option(None, "Shares.")


@pytest.fixture
def call_with_numbers():
    """Returns a function from arguments to the options that the command is called with."""
    got = []

    @stage_command(Numbers)
    def command(options: Numbers) -> None:
        got.append(options)

    app = typer.Typer()
    app.command()(command)

    def run(*arguments: str) -> Numbers:
        app(arguments, standalone_mode=False)
        return got[-1]

    return run


def test_numbers_are_separated_by_commas(call_with_numbers):
    assert call_with_numbers() == Numbers((1, 2), None)
    read = call_with_numbers("--sizes", "3, 1", "--shares", "0.5,2")
    assert read == Numbers((3, 1), (0.5, 2.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "1,x"], "`--sizes` takes whole numbers, comma-separated"),
        (["--sizes", "1.5"], "`--sizes` takes whole numbers, comma-separated"),
        (["--sizes", "0"], "`--sizes` must be at least 1, not 0"),
        (["--sizes", ","], "`--sizes` names nothing"),
        (["--sizes", "1,1"], "`--sizes` names something twice"),
        (["--shares", "half"], "`--shares` takes numbers, comma-separated"),
    ],
)
def test_values_that_are_not_such_numbers_are_refused(call_with_numbers, arguments, message):
    with pytest.raises(UsageError) as caught:
        call_with_numbers(*arguments)
    assert caught.value.what.startswith(message)


def test_an_exclusive_limit_is_shown_as_such():
    main.register()
    help_of = {
        parameter.name: parameter.help
        for parameter in typer.main.get_command(main.app).commands["train-sft"].params
    }
    assert help_of["learning_rate"].endswith("Above 0.")
    assert "Above" not in help_of["weight_decay"]
