"""YAML as people write it for us: plain values, each key once, and no more than the file shows.

Differs from `yaml.safe_load`: a key given twice is an error, and so are aliases that make a small
file stand for a huge value.
"""

from pathlib import Path
from typing import Any

import yaml

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.small_text import read_small_text
from lorapar_cli.text_safety import hide_keys

# Of values, with those that aliases repeat.
_MAX_VALUES = 50_000
# Above it, a number in another base than ten has neither a decimal form in Python nor a value as float.
_MAX_BITS = 1000
_MERGE_TAG = "tag:yaml.org,2002:merge"


class _Problem(Exception):
    """Why a text is refused, and on which line or None."""

    def __init__(self, what: str, line: int | None) -> None:
        super().__init__(what)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Knows the line of a value that Python cannot hold, such as a date without such a day."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, ValueError) as cause:
            # The library trusts a tag: `!!int` of no digits, `!!bool` of other words, `!!timestamp`.
            raise _Problem(f"not a value of its type, `{node.tag}`", _line(node)) from cause
        if isinstance(value, int) and value.bit_length() > _MAX_BITS:
            raise _Problem(f"a whole number of more than {_MAX_BITS} bits", _line(node))
        return value


def read_yaml(path: Path) -> Any:
    """Returns a file's one YAML value, None for an empty file.

    Raises:
        LoraparError: It cannot be read, or it is not YAML as described above; names the line.
    """
    try:
        return _load(read_small_text(path))
    except _Problem as problem:
        where = f"{path}:{problem.line}" if problem.line else str(path)
        raise LoraparError(f"`{where}` is not valid YAML", str(problem)) from None


def parse_yaml(text: str) -> Any:
    """Returns the value that a text of YAML stands for.

    Raises:
        ValueError: It is not YAML as described above.
    """
    try:
        return _load(text)
    except _Problem as problem:
        raise ValueError(str(problem)) from None


def _load(text: str) -> Any:
    """Returns the value of a text.

    Raises:
        _Problem: There is none.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _measure(node, {})
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise _Problem("it is nested too deeply", None) from None
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark or cause.context_mark
        # Never the line itself, as the library shows it: it may hold a key.
        words = hide_keys(" ".join(part for part in (cause.context, cause.problem) if part))
        raise _Problem(words, mark.line + 1 if mark else None) from None
    except yaml.reader.ReaderError as cause:
        line = text.count("\n", 0, cause.position) + 1
        raise _Problem(f"a control character, {cause.character:#04x}", line) from None


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _measure(node: Any, known: dict[int, int | None]) -> int:
    """Returns how many values a node stands for, those that aliases repeat each time.

    Args:
        known: By node; None while a node's own parts are measured.

    Raises:
        _Problem: Too many, a node that contains itself, or a key given twice.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise _Problem("an alias refers to what contains it", _line(node))
        return size
    known[id(node)] = None
    if isinstance(node, yaml.MappingNode):
        _require_distinct_keys(node)
        parts = [part for pair in node.value for part in pair]
    else:
        parts = list(node.value)
    total = 1
    for part in parts:
        total += _measure(part, known)
        if total > _MAX_VALUES:
            raise _Problem(f"its aliases stand for more than {_MAX_VALUES} values", _line(node))
    known[id(node)] = total
    return total


def _require_distinct_keys(node: Any) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE_TAG:
            continue
        if (key.tag, key.value) in seen:
            raise _Problem(f"the key `{hide_keys(key.value)}` occurs twice", _line(key))
        seen.add((key.tag, key.value))
