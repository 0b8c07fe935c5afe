"""What can be said of a text as Python source, without running it."""

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

LONGEST_PARSED = 2**17
"""Longer texts are left to the sandbox, which has limits of time and memory."""
_PARSED_IN_ALL = 2**21
_COST_OF_ONE = 300
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass
class _Parsed:
    """What has been parsed of one completion, and the number of characters that may still be."""

    trees: dict[str, ast.Module | None] = field(default_factory=dict)
    left: int = _PARSED_IN_ALL


_current: ContextVar[_Parsed | None] = ContextVar("parsed", default=None)


@contextmanager
def bounded_parsing() -> Iterator[None]:
    """Bounds what `parse` does within the block, however many readings a text has."""
    token = _current.set(_Parsed())
    try:
        yield
    finally:
        _current.reset(token)


def is_spent() -> bool:
    """Returns whether nothing more is parsed within this `bounded_parsing`."""
    parsed = _current.get()
    return parsed is not None and parsed.left <= 0


def parse(text: str) -> ast.Module | None:
    """Returns the syntax tree of a text, None if it is not Python or too long to tell."""
    parsed = _current.get() or _Parsed()
    if text in parsed.trees:
        return parsed.trees[text]
    if len(text) > min(LONGEST_PARSED, parsed.left):
        return None
    parsed.left -= len(text) + _COST_OF_ONE
    tree = parsed.trees[text] = _parse(text)
    return tree


def _parse(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
            # Not all that parses compiles: `return` outside a function does not.
            compile(tree, "program", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None
    return tree


def clean(text: str) -> str:
    """Returns the text with the line ends of Python, without a byte order mark at its start.

    Half a surrogate pair, which no source file can contain, becomes the escape that means it.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def mended(text: str) -> Iterator[str]:
    """Yields the text as it is, then with what spoils its form in chats and on web pages undone."""
    yield text
    if (spaced := _INVISIBLE.sub("", _SPACES.sub(" ", text))) != text:
        yield spaced
    text = spaced
    if (moved := textwrap.dedent(text)) != text:
        yield moved
    lines = moved.split("\n")
    if any(line.startswith(">>> ") for line in lines):
        # A session: results are not part of it.
        typed = [line for line in lines if line.startswith((">>>", "..."))]
        yield "\n".join(line[4:] for line in typed)
    if (kept := [line for line in lines if not line.startswith(("!", "%"))]) != lines:
        yield "\n".join(kept)


def expand_tabs(text: str) -> str:
    """Returns the text with four spaces for each tab at the start of a line."""
    lines = text.split("\n")
    starts = [len(line) - len(line.lstrip(" \t")) for line in lines]
    return "\n".join(
        line[:start].expandtabs(4) + line[start:] for line, start in zip(lines, starts, strict=True)
    )


def top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yields the statements that run in the module's own scope, those of `if` and `try` as well."""
    pending: list[ast.AST] = [*reversed(tree.body)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, _Definition):
            inside = ast.iter_child_nodes(node)
            pending += [n for n in inside if isinstance(n, ast.stmt | ast.excepthandler)][::-1]


def bound_names(statement: ast.stmt) -> set[str]:
    """Returns the names that a statement of the module gives a value."""
    if isinstance(statement, _Definition):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(each.asname or each.name).partition(".")[0] for each in statement.names}
    if isinstance(statement, ast.AnnAssign) and statement.value is None:
        return set()
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For | ast.With):
        stored = (n for n in ast.walk(statement) if isinstance(n, ast.Name))
        return {n.id for n in stored if isinstance(n.ctx, ast.Store)}
    return set()


def definition(tree: ast.Module, name: str) -> ast.stmt | None:
    """Returns the last statement of the module that gives a name its value, None if none does."""
    found = None
    for statement in top_level(tree):
        if name in bound_names(statement):
            found = statement
    return found


def is_stub(statement: ast.stmt) -> bool:
    """Returns whether a function does nothing: a docstring, `pass`, `...`, definitions, a refusal."""
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    return all(
        isinstance(each, ast.Pass | _Definition | ast.Import | ast.ImportFrom)
        or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        or (isinstance(each, ast.Raise) and "NotImplementedError" in ast.dump(each))
        for each in statement.body
    )


def method_owner(tree: ast.Module, name: str) -> str | None:
    """Returns the class that has a method of that name, None unless there is exactly one."""
    owners = [
        statement.name
        for statement in tree.body
        if isinstance(statement, ast.ClassDef)
        and any(isinstance(each, _Definition) and each.name == name for each in statement.body)
    ]
    return owners[0] if len(owners) == 1 else None


def used_names(tree: ast.AST) -> set[str]:
    """Returns the names that are read anywhere in a tree."""
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def with_future_first(text: str) -> str:
    """Returns the program with its `from __future__` imports moved to its start."""
    tree = parse(text)
    if tree is not None or "__future__" not in text:
        return text
    lines = text.split("\n")
    moved = [line for line in lines if re.match(r"from __future__ import [\w, ]+$", line.rstrip())]
    rest = [line for line in lines if line not in moved]
    return "\n".join([*dict.fromkeys(line.rstrip() for line in moved), *rest])
