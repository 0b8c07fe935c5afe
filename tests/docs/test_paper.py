"""docs/paper.md names functions and tests that exist, and settings as they are."""

import ast
import functools
import re
from pathlib import Path

import pytest
import yaml

from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.training.options import RlOptions, SftOptions

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
SAMPLE = yaml.safe_load((ROOT / "sample_configs" / "gsm8k-llama2-7b.yaml").read_text())
OPTIONS = {
    "score": ScoreOptions(),
    "partition": PartitionOptions(),
    "train-sft": SftOptions(),
    "train-rl": RlOptions(),
}


def rows(heading: str) -> list[list[str]]:
    """Returns the cells of the table below a heading, without its first two lines."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines[2:]]


@functools.cache
def names_in(path: str) -> frozenset[str]:
    """Returns what a file defines at its top, and `Class.method`."""
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{own.name}" for own in node.body if hasattr(own, "name")}
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(found)


NAMED = re.findall(r"`([\w/.-]+\.py)::([\w.]+)`", PAGE)


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_functions_and_tests_exist(path, name):
    assert (ROOT / path).is_file(), path
    assert name in names_in(path), f"{path} has no {name}"


@pytest.mark.parametrize("heading", ["Method", "Tables and figures"])
def test_each_row_names_code_and_a_test(heading):
    for _, *cells in rows(heading):
        *code, test = cells
        assert re.search(r"`[\w/.-]+\.(py::[\w.]+|yaml)`", "".join(code)), cells
        assert re.fullmatch(r" `tests/[\w/]+\.py::test_\w+` ", test), cells


@pytest.mark.parametrize("row", rows("Settings"), ids=lambda row: row[0].strip())
def test_settings_are_those_of_the_code(row):
    section, field = row[2].strip(" `").split(".")
    default, sample = (yaml.safe_load(cell.strip()) for cell in row[3:])
    assert getattr(OPTIONS[section], field) == default
    assert SAMPLE[section][field] == sample


def test_deviations_are_numbered_and_have_reasons():
    table = rows("Deviations")
    assert [int(row[0]) for row in table] == list(range(1, len(table) + 1))
    assert all(cell.strip() for row in table for cell in row)
