"""The training stages as commands: several processes, and kills at any moment."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from lorapar_cli.names import Stage
from lorapar_cli.store.run_dir import RunDir
from tests.ports import free_port

COMMAND = {
    "train-sft": [
        *("train-sft", "--learning-rate", "1e-2", "--lora-dropout", "0", "--save-steps", "1"),
        *("--per-device-batch-size", "4", "--gradient-accumulation", "1", "--epochs", "3"),
    ],
    "train-rl": [
        *("train-rl", "--learning-rate", "1e-2", "--max-steps", "6", "--num-generations", "4"),
        *("--per-device-batch-size", "8", "--gradient-accumulation", "1", "--save-steps", "1"),
        *(
            "--max-completion-length",
            "8",
            "--rewards",
            "format,tests.faults.rewards.length",
            "--kl-beta",
            "0.1",
        ),
    ],
}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def start(arguments, run_dir, processes=1):
    launcher = [sys.executable, "-m"]
    if processes > 1:
        launcher += ["torch.distributed.run", "--nproc_per_node", str(processes), "-m"]
    return subprocess.Popen(
        [*launcher, "lorapar_cli", *arguments, "--run-dir", str(run_dir.root)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr


def copy(run_dir, folder):
    shutil.copytree(run_dir.root, folder)
    return RunDir(folder)


def adapter_bytes(run_dir, stage):
    return (run_dir.folder(stage) / "adapter" / "adapter_model.safetensors").read_bytes()


def losses(run_dir, stage):
    lines = (run_dir.folder(stage) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_two_processes_have_the_losses_of_one(run_dir, tmp_path):
    """2 processes x batch 2 against 1 x 4; 12 records fill the batches of both."""
    single = copy(run_dir, tmp_path / "single")
    arguments = [*COMMAND["train-sft"], "--max-steps", "4"]
    finish(start(arguments, single))
    arguments[arguments.index("--per-device-batch-size") + 1] = "2"
    finish(start(arguments, run_dir, processes=2))
    assert losses(run_dir, Stage.TRAIN_SFT) == pytest.approx(
        losses(single, Stage.TRAIN_SFT), rel=1e-5
    )
    counts = run_dir.manifest(Stage.TRAIN_SFT).counts
    assert counts["frozen_moved"] == 0
    assert run_dir.manifest(Stage.TRAIN_SFT).metrics["processes"] == 2


def test_two_processes_train_by_grpo_and_log_every_completion(run_dir):
    finish(start(COMMAND["train-sft"], run_dir))
    arguments = [
        *COMMAND["train-rl"],
        "--max-steps",
        "2",
        "--rewards",
        "format,tests.faults.rewards.length",
    ]
    finish(start(arguments, run_dir, processes=2))
    assert run_dir.manifest(Stage.TRAIN_RL).counts["frozen_moved"] == 0
    lines = (run_dir.folder(Stage.TRAIN_RL) / "completions.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 2 * 8


@pytest.mark.slow
@pytest.mark.parametrize("stage", [Stage.TRAIN_SFT, Stage.TRAIN_RL])
def test_killed_at_random_moments_ends_with_the_same_bytes(run_dir, tmp_path, stage):
    if stage is Stage.TRAIN_RL:
        finish(start(COMMAND["train-sft"], run_dir))
    straight = copy(run_dir, tmp_path / "straight")
    began = time.monotonic()
    finish(start(COMMAND[stage], straight))
    took = time.monotonic() - began
    draw = random.Random(7)
    kills = 0
    for _ in range(5):
        process = start(COMMAND[stage], run_dir)
        # The second half is where steps run and checkpoints are written.
        time.sleep(draw.uniform(0.5, 1.0) * took)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
    finish(start(COMMAND[stage], run_dir))
    assert kills > 0
    assert adapter_bytes(run_dir, stage) == adapter_bytes(straight, stage)
    assert losses(run_dir, stage) == losses(straight, stage)


def test_a_group_may_lie_in_several_processes(run_dir):
    arguments = [
        *COMMAND["train-rl"],
        "--max-steps",
        "2",
        "--rewards",
        "format,tests.faults.rewards.length",
    ]
    arguments[arguments.index("--per-device-batch-size") + 1] = "2"
    finish(start([*arguments, "--from", "init"], run_dir, processes=2))
    lines = (run_dir.folder(Stage.TRAIN_RL) / "completions.jsonl").read_text().splitlines()
    groups = [[json.loads(line)["id"] for line in lines[first : first + 4]] for first in (0, 4)]
    assert [len(set(group)) for group in groups] == [1, 1]


def finish_on_two_nodes(arguments, run_dir):
    """Runs a command on two launchers of one process each; returns what both wrote to stdout."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    launcher += ["--nproc_per_node", "1", "--master_addr", "127.0.0.1"]
    launcher += ["--master_port", free_port()]
    command = ["-m", "lorapar_cli", *arguments, "--run-dir", str(run_dir.root), "--json"]
    nodes = [
        subprocess.Popen(
            [*launcher, "--node_rank", rank, *command],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    written = [node.communicate(timeout=240) for node in nodes]
    for node, (_, stderr) in zip(nodes, written, strict=True):
        assert node.returncode == 0, stderr
    return [stdout for stdout, _ in written]


@pytest.mark.slow
def test_two_nodes_give_the_bytes_of_one_with_two_processes(run_dir, tmp_path):
    one = copy(run_dir, tmp_path / "one")
    score = ["score", "--rank", "4", "--lora-alpha", "8", "--dtype", "float32", "--out"]
    commands = [
        ([*score, "SCORED"], "score", ["importance.safetensors"]),
        ([*COMMAND["train-sft"], "--max-steps", "4"], "train-sft", ["metrics.jsonl"]),
        (COMMAND["train-rl"], "train-rl", ["metrics.jsonl", "completions.jsonl"]),
    ]
    for arguments, stage, files in commands:
        folders = [run.root / ("scored" if stage == "score" else stage) for run in (one, run_dir)]
        first, second = (
            [str(folder) if part == "SCORED" else part for part in arguments] for folder in folders
        )
        finish(start(first, one, processes=2))
        speaking, silent = finish_on_two_nodes(second, run_dir)
        assert json.loads(speaking)["stage"] == stage
        assert not silent
        for file in [*files, "adapter/adapter_model.safetensors"]:
            if file == "metrics.jsonl":
                # GRPO's lines also hold seconds.
                assert losses(one, stage) == losses(run_dir, stage)
            else:
                same = [(folder / file).read_bytes() for folder in folders]
                assert same[0] == same[1], file
