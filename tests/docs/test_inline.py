"""Commands and options that sentences name, in backticks, are those of the command line."""

import re
from functools import cache

import pytest
import typer

from lorapar_cli.cli.main import app, register
from tests.docs.blocks import PAGES, ROOT

# Options of scripts of this repository.
OTHERS = {
    "--quick": "python -m tests.faults",
    "--patience": "python -m tests.faults",
    "--work": "python -m evidence",
}
BLOCK = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
COMMAND = re.compile(r"lorapar ([a-z][a-z-]*)((?: [a-z]+)?)\b")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


@cache
def options() -> dict[str, set[str]]:
    """Returns the options of each command."""
    register(None)
    commands = typer.main.get_command(app).commands
    return {
        name: {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)}
        | {"--help"}
        for name, command in commands.items()
    }


def unknown(text: str) -> list[str]:
    """Returns what a page's sentences name and the command line does not have."""
    known = set().union(*options().values()) | OTHERS.keys() | {"--version"}
    found = []
    for code in (" ".join(each.split()) for each in INLINE.findall(BLOCK.sub("", text))):
        if call := COMMAND.match(code):
            name = call[1] + call[2] if call[1] + call[2] in options() else call[1]
            own = options().get(name)
            found += [code] if own is None else [code for o in OPTION.findall(code) if o not in own]
        elif code.startswith("--"):
            found += [code for option in OPTION.findall(code)[:1] if option not in known]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_names_what_there_is(page):
    assert unknown(page.read_text(encoding="utf-8")) == []


def test_what_there_is_not_is_found():
    page = "`lorapar eval --overwrite`, `lorapar eval show --wrong`, `lorapar evl`, `--thta`, `--theta`"
    assert unknown(page) == ["lorapar eval --overwrite", "lorapar evl", "--thta"]
