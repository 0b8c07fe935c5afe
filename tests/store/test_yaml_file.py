"""YAML files: each key once, bounded, and problems named with their line."""

import itertools
import time

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.yaml_file import parse_yaml, read_yaml


def levels(item, count=9):
    """Nine levels, each of which repeats the one before nine times."""
    names = "abcdefghi"[:count]
    rows = [f"{n}: &{n} {item('*' + p)}" for p, n in itertools.pairwise(names)]
    return "\n".join(["a: &a {k: 1}", *rows])


REFUSED = {
    "aliases of lists": (levels(lambda p: f"[{', '.join([p] * 9)}]"), None, "more than 50000"),
    "merges": (levels(lambda p: f"{{<<: [{', '.join([p] * 9)}]}}"), None, "more than 50000"),
    "itself": ("a: 1\nb: &b [*b]", 2, "refers to what contains it"),
    "nesting": ("[" * 3000, None, "nested too deeply"),
    "nested mappings": ("{a: " * 3000, None, "nested too deeply"),
    "key twice": ("a: 1\nb:\n  c: 1\n  c: 2", 4, "the key `c` occurs twice"),
    "digits": (f"a: 1\nb: {'9' * 5000}", 2, "not a value of its type"),
    "hex digits": (f"a: 1\nb: 0x{'f' * 5000}", 2, "more than 1000 bits"),
    "no such day": ("a: 2026-02-30", 1, "not a value of its type"),
    "an object": ("a: 1\nb: !!python/object/apply:os.system [x]", 2, "constructor"),
    "a list as key": ("a: 1\n? [b]\n: 1", 2, "unhashable"),
    "two documents": ("a: 1\n---\nb: 1", 2, "single document"),
    "unknown alias": ("a: 1\nb: *c", 2, "undefined alias"),
    "a tab": ("a:\n\tb: 1", 2, "cannot start any token"),
    "a bell": ("a: 1\nb: \x07", 2, "control character, 0x07"),
    "an open quote": ("a: 1\nb: '", 2, "unexpected end"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_problem_is_named_with_its_line(tmp_path, kind):
    content, line, said = REFUSED[kind]
    path = tmp_path / "t.yaml"
    path.write_text(content)
    started = time.process_time()
    with pytest.raises(LoraparError) as error:
        read_yaml(path)
    assert said in error.value.found
    assert f"{path}:{line}`" in error.value.what if line else str(path) in error.value.what
    assert time.process_time() - started < 30
    with pytest.raises(ValueError, match=r"\w"):
        parse_yaml(content)


def test_the_line_at_fault_is_not_repeated(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text("a:\n\tkey: Zx81QmPl07VdKw3TgYb5Hs9R\n")
    with pytest.raises(LoraparError) as error:
        read_yaml(path)
    assert "Zx81" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing\n", None),
        ("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
        ("a: {b: 1}\nc: {b: 1}", {"a": {"b": 1}, "c": {"b": 1}}),
        ("1: x\n'1': y", {1: "x", "1": "y"}),
        ("grün: ✓", {"grün": "✓"}),
    ],
)
def test_plain_yaml_is_read_as_ever(text, value):
    assert parse_yaml(text) == value
