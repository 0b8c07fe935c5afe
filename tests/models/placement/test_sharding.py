"""A base model that two processes share computes what a whole one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lorapar_cli.models.base_model import find_base_model, load_base
from lorapar_cli.models.placement.sharding import in_step, is_sharded, whole_tensor
from tests.ports import free_port


def test_two_processes_hold_half_and_compute_the_same(tiny_model_dir, tmp_path):
    script = Path(__file__).with_name("two_processes.py")
    root = Path(__file__).parents[3]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
        *("--master_port", free_port(), str(script), str(tiny_model_dir), str(tmp_path)),
    ]
    environment = os.environ | {"PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"passed-0", "passed-1"}


def test_a_whole_model_needs_no_other_process(tiny_model_dir):
    model = load_base(find_base_model(str(tiny_model_dir)))
    assert not is_sharded(model)
    with in_step(model, lambda: pytest.fail("nobody waits")):
        pass
    parameter = next(model.parameters())
    assert whole_tensor(parameter) is parameter
