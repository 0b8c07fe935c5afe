"""`lorapar inspect` as a command: what it prints of importance and masks, without torch."""

import json
from functools import partial

import pytest

from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.store.run_dir import RunDir
from tests.cli.command_line import printed
from tests.partition.importance_files import SHAPES, draw_importance, write_importance


@pytest.fixture
def importance(tmp_path):
    path = tmp_path / "importance.safetensors"
    write_importance(path, draw_importance())
    return path


@pytest.fixture
def inspect(capfd):
    return partial(printed, capfd, "inspect")


def test_importance_is_shown_by_system(importance, inspect):
    out = inspect(importance, "--top", 2)
    assert f"importance of {len(SHAPES)} matrices" in out
    for words in ("share of the total, %", "top elements of system1", "top elements of system2"):
        assert words in out
    assert "top elements" not in inspect(importance, "--top", 0)


def test_one_matrix_is_named_with_its_shape(importance, inspect):
    out = inspect(importance, "--tensor", "up_proj")
    assert "tensor base_model.model.layers.1.up_proj.lora_A.weight [4, 20]" in out


def test_a_mask_is_shown_by_module(importance, tmp_path, inspect):
    folder = partition(RunDir(tmp_path), PartitionOptions(importance=importance)).folder
    out = inspect(folder)
    assert f"mask of {len(SHAPES)} matrices" in out
    for words in ("theta: 0.9", "q_proj A", "q_proj B", "up_proj A", "400"):
        assert words in out


def test_json_is_the_report(importance, inspect):
    report = json.loads(inspect(importance, "--json"))
    assert list(report) == ["schema", "path", "kind", "metadata", "matrices", "systems"]
    report = json.loads(inspect(importance, "--json", "--tensor", "up_proj"))
    assert list(report)[5:] == ["tensor", "shape", "systems"]
