"""Every regular expression of the package, given a megabyte of one repeated token.

A pattern is used as the package uses it: searched for all over the text, or only matched from the
beginning where every use is `match` or `fullmatch`. What takes over two seconds is lost, since what
is linear takes a few hundredths of one.
"""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import lorapar_cli
from tests.faults.harness import Case, Lost
from tests.faults.limits import TooLong, processor_limit

KIND = "patterns given a megabyte of one token"
BYTES = 1_000_000
SECONDS = 2.0
_METHODS = {"search", "match", "fullmatch", "sub", "subn", "findall", "finditer", "split"}
_FROM_THE_START = {"match", "fullmatch"}

TOKENS = (
    *(
        "9",
        "a",
        " ",
        "\n",
        "#",
        "(",
        "{",
        "-",
        ",",
        '"',
        "<",
        "\\",
        "*",
        ".",
        "a ",
        "9,",
        " \n",
        "-.",
    ),
    *("\\boxed{", "<answer>", "answer is "),
)
_WORDS = re.compile(r"[\w<>/#:`]{2,20}")


@dataclass(frozen=True)
class Pattern:
    """A pattern, where it stands, and how it is used.

    Attributes:
        anchored: Whether it is only matched from a text's beginning.
    """

    where: str
    compiled: re.Pattern[str]
    anchored: bool


def cases(_: int) -> Iterator[Case]:
    for number, pattern in enumerate(patterns()):
        name = f"{pattern.where}: {pattern.compiled.pattern}"
        yield Case(KIND, name, partial(_search, number))


@cache
def patterns() -> tuple[Pattern, ...]:
    """Returns the patterns of all modules, in their order in the sources."""
    found = {}
    for module in _modules():
        for pattern in (*_of_module(module), *_in_functions(module)):
            key = (pattern.compiled.pattern, pattern.compiled.flags, pattern.anchored)
            found.setdefault(key, pattern)
    return tuple(found.values())


def _modules() -> Iterator[ModuleType]:
    for info in pkgutil.walk_packages(lorapar_cli.__path__, "lorapar_cli."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def _of_module(module: ModuleType) -> Iterator[Pattern]:
    """Yields the compiled patterns that a module's names hold, also within lists, tuples and dicts."""
    methods = _methods_by_name(_tree(module))
    for name, value in vars(module).items():
        used = methods.get(name, set())
        for compiled in _compiled(value):
            if isinstance(compiled.pattern, str):
                yield Pattern(
                    f"{_short(module)}.{name}", compiled, bool(used) and used <= _FROM_THE_START
                )


def _compiled(value: Any) -> Iterator[re.Pattern]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        yield from (found for pair in value.items() for part in pair for found in _compiled(part))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (found for part in value for found in _compiled(part))


def _methods_by_name(tree: ast.AST) -> dict[str, set[str]]:
    """Returns which methods are called of each name; what else is done with it counts as `search`."""
    used: dict[str, set[str]] = {}
    called = {
        id(node.value): node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    }
    loops = {
        id(node.iter): node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.For | ast.comprehension) and isinstance(node.target, ast.Name)
    }
    over: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            if (each := loops.get(id(node))) is not None:
                over.setdefault(node.id, set()).add(each)
            else:
                used.setdefault(node.id, set()).add(called.get(id(node), "search"))
    # A list of patterns is used as the variable is that takes each of them.
    for name, each in over.items():
        used.setdefault(name, set()).update(*(used.get(one, {"search"}) for one in each))
    return used


def _in_functions(module: ModuleType) -> Iterator[Pattern]:
    """Yields what is given to `re` by its functions: literals, and texts made of a module's names."""
    for node in ast.walk(_tree(module)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
            and node.func.attr in _METHODS
        ):
            compiled = re.compile(_text(node.args[0], module), _flags(node))
            where = f"{_short(module)}, line {node.lineno}"
            yield Pattern(where, compiled, node.func.attr in _FROM_THE_START)


def _text(node: ast.expr, module: ModuleType) -> str:
    """Returns the text of a literal; what only a call knows stands there as `x`."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, module) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, module) if _is_known(node.value, module) else "x"
    if _is_known(node, module):
        return str(vars(module)[cast(ast.Name, node).id])
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise AssertionError(f"{module.__name__}, line {node.lineno}: which pattern is this?")


def _is_known(node: ast.expr, module: ModuleType) -> bool:
    return isinstance(node, ast.Name) and isinstance(vars(module).get(node.id), str)


def _flags(node: ast.Call) -> int:
    named = [
        each for each in ast.walk(node) if isinstance(each, ast.Attribute) and each is not node.func
    ]
    flags = 0
    for each in named:
        if isinstance(each.value, ast.Name) and each.value.id == "re" and each.attr.isupper():
            flags |= getattr(re, each.attr)
    return flags


def _tree(module: ModuleType) -> ast.AST:
    return ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))


def _short(module: ModuleType) -> str:
    return module.__name__.removeprefix("lorapar_cli.")


def tokens(pattern: Pattern) -> list[str]:
    """Returns what the pattern is given: what every one is, and the words of its own source."""
    own = _WORDS.findall(pattern.compiled.pattern)[:4]
    return list(dict.fromkeys([*TOKENS, *own, *(f"{word} " for word in own)]))


def _search(number: int, _: Path) -> None:
    pattern = patterns()[number]
    slow = [token for token in tokens(pattern) if _is_slow(pattern, token)]
    if slow:
        raise Lost(f"over {SECONDS} s for {BYTES:,} characters of each of {slow}")


def _is_slow(pattern: Pattern, token: str) -> bool:
    text = token * (BYTES // len(token))
    try:
        with processor_limit(SECONDS):
            if pattern.anchored:
                pattern.compiled.match(text)
                pattern.compiled.fullmatch(text)
            else:
                for _ in pattern.compiled.finditer(text):
                    pass
    except TooLong:
        return True
    return False
