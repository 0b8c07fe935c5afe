"""`score` in several processes of one launch."""

import json
import os
import subprocess
import sys

import pytest

from lorapar_cli.names import System
from lorapar_cli.scoring.checkpoint import partial_folder
from lorapar_cli.scoring.split_half import jaccard
from tests.ports import free_port
from tests.scoring.score_parts import importance_of, relative_norm, run_score, top_set


def launch(*launcher, root, model, splits, extra=(), variables=None):
    command = [
        *(sys.executable, "-m", *launcher, "-m", "lorapar_cli", "score", "--model", str(model)),
        *("--splits", str(splits), "--run-dir", str(root), "--rank", "4", "--lora-alpha", "8"),
        *extra,
    ]
    environment = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK")}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | (variables or {})
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.parametrize("init", ["corda", "lora_ga"])
def test_two_processes_draw_the_same_adapter_from_data(tmp_path, tiny_model_dir, splits, init):
    launcher = ("torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port())
    both, alone = tmp_path / "both", tmp_path / "alone"
    arguments = {"model": tiny_model_dir, "splits": splits, "extra": ("--init", init)}
    done = launch(*launcher, root=both, **arguments)
    assert done.returncode == 0, done.stderr
    outcome = run_score(alone, tiny_model_dir, splits, init=init)
    assert relative_norm(importance_of(both), importance_of(alone)) < 1e-6
    assert any("used 24 samples" in note for note in outcome.manifest.notes)
    adapters = [
        (root / "score" / "adapter" / "adapter_model.safetensors").read_bytes()
        for root in (both, alone)
    ]
    assert adapters[0] == adapters[1]


@pytest.mark.parametrize("extra", [(), ("--packing", "--batch-tokens", "400")])
def test_two_processes_equal_one(scored, tmp_path, tiny_model_dir, splits, extra):
    launcher = ("torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port())
    done = launch(*launcher, root=tmp_path, model=tiny_model_dir, splits=splits, extra=extra)
    assert done.returncode == 0, done.stderr
    found, expected = importance_of(tmp_path), importance_of(scored)
    assert relative_norm(found, expected) < 1e-6
    for system in System:
        assert jaccard(top_set(found, system), top_set(expected, system)) >= 0.9999
    manifest = json.loads((tmp_path / "score" / "manifest.json").read_text())
    assert manifest["counts"]["samples"] == {"system1": 12, "system2": 12}
    assert not partial_folder(tmp_path / "score").exists()


def test_a_launcher_that_starts_too_few_is_an_error(tmp_path, tiny_model_dir, splits):
    launcher = ("accelerate.commands.launch", "--cpu", "--num_processes", "2")
    done = launch(*launcher, root=tmp_path / "run", model=tiny_model_dir, splits=splits)
    assert done.returncode != 0
    assert "started fewer processes than it was asked for" in done.stderr
    assert not (tmp_path / "run").exists()
