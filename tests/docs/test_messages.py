"""The messages that docs/reference/messages.md explains are those of the code."""

import ast
import functools
import re
from pathlib import Path

import pytest

import lorapar_cli

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "messages.md"
PACKAGE = Path(lorapar_cli.__file__).parent


def shown(node: ast.AST) -> str | None:
    """Returns a message as the page shows it: `…` for names and numbers, no backticks."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        parts = [node.value]
    elif isinstance(node, ast.JoinedStr):
        parts = [
            part.value if isinstance(part, ast.Constant) else _inserted(part.value)
            for part in node.values
        ]
    else:
        return None
    return re.sub("…+", "…", "".join(parts).replace("`", ""))


def _inserted(value: ast.AST) -> str:
    """Returns what the page shows in a message's gap; words that follow a number are those of many."""
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name):
        return "…"
    words = [shown(argument) for argument in value.args[1:]]
    if value.func.id == "inflected":
        return words[-1] or "…"
    if value.func.id == "counted":
        return f"… {words[1] if words[1:] else f'{words[0]}s'}"
    return "…"


@functools.cache
def texts() -> frozenset[str]:
    """Returns every text of the package: a message may be made before the error that shows it."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py"))
    return frozenset(filter(None, (shown(node) for tree in trees for node in ast.walk(tree))))


def explained_messages() -> list[str]:
    (table,) = re.findall(
        r"## Messages you may meet\n.*?\n\|---.*?\n(.*?)\n\n", PAGE.read_text(), re.DOTALL
    )
    return [re.match(r"\| `([^`]+)` \|", line)[1] for line in table.splitlines()]


@pytest.mark.parametrize("message", explained_messages())
def test_explained_messages_are_those_of_the_code(message):
    assert message in texts()
