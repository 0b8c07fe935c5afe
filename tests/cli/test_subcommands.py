"""`eval` is a command, and so are `eval show` and `eval compare`."""

import pytest
import typer

from lorapar_cli.cli.subcommands import SubcommandGroup
from lorapar_cli.errors import UsageError


@pytest.fixture
def call():
    """Returns a function from words to which command got what."""
    app = typer.Typer(cls=SubcommandGroup)
    called = []

    @app.command("eval")
    def evaluate(limit: int = 0):
        called.append(("eval", limit))

    @app.command("eval show")
    def show(name: str = "all"):
        called.append(("eval show", name))

    @app.command("run")
    def run(config: str):
        called.append(("run", config))

    def type_in(*words):
        called.clear()
        app(list(words), standalone_mode=False)
        return called[0]

    return type_in


def test_the_longer_name_comes_first(call):
    assert call("eval", "--limit", "3") == ("eval", 3)
    assert call("eval") == ("eval", 0)
    assert call("eval", "show", "--name", "x") == ("eval show", "x")
    assert call("run", "show") == ("run", "show")


def test_a_word_that_is_no_subcommand_is_refused_with_the_nearest(call):
    with pytest.raises(UsageError, match="`eval` has no subcommand `shwo`, did you mean `show`"):
        call("eval", "shwo")
    with pytest.raises(typer.TyperException):
        call("evla")
