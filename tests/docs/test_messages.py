"""The messages that docs/reference/messages.md explains are raised somewhere."""

import ast
import functools
import re
from pathlib import Path

import pytest

import lorapar_cli

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "messages.md"
PACKAGE = Path(lorapar_cli.__file__).parent
ERRORS = {"LoraparError", "UsageError", "Diverged"}


def shown(node: ast.expr) -> str | None:
    """Returns a message as the page shows it: `…` for names and numbers, no backticks."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        parts = [node.value]
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
    else:
        return None
    return re.sub("…+", "…", "".join(parts).replace("`", ""))


@functools.cache
def raised_messages() -> set[str]:
    """Returns the first argument of every expected error in the package."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                message = shown(node.args[0]) if node.func.id in ERRORS else None
                found |= {message} - {None}
    return found


def explained_messages() -> list[str]:
    (table,) = re.findall(
        r"## Messages you may meet\n.*?\n\|---.*?\n(.*?)\n\n", PAGE.read_text(), re.DOTALL
    )
    return [re.match(r"\| `([^`]+)` \|", line)[1] for line in table.splitlines()]


@pytest.mark.parametrize("message", explained_messages())
def test_explained_messages_are_raised(message):
    assert message in raised_messages()
