"""Training under engines that shard the model: refused, or frozen elements are bit-identical."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Flag, Stage
from lorapar_cli.store.mask_file import active_elements, read_mask
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import read_tensors
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from tests.console_scripts import put_on_path
from tests.ports import free_port


@pytest.fixture
def launched(monkeypatch):
    """A function that sets what `accelerate launch` would."""

    def launch(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return launch


def test_fsdp1_is_refused_before_any_work(run_dir, launched):
    launched(ACCELERATE_USE_FSDP="true", FSDP_VERSION="1")
    with pytest.raises(LoraparError, match="FSDP1") as caught:
        train_sft(run_dir, SftOptions())
    assert "accelerate-fsdp2.yaml" in caught.value.hint
    source = run_dir.folder(Stage.SCORE) / "adapter"
    with pytest.raises(LoraparError, match="FSDP1"):
        train_rl(run_dir, RlOptions(adapter=source))
    assert not run_dir.folder(Stage.TRAIN_SFT).exists()
    assert not run_dir.folder(Stage.TRAIN_RL).exists()


def test_fsdp2_that_became_something_else_is_an_error(run_dir, launched):
    """On a CPU accelerate turns a request for FSDP into DDP or one process."""
    launched(ACCELERATE_USE_FSDP="true", FSDP_VERSION="2")
    with pytest.raises(LoraparError, match="FSDP2 was requested, but accelerate does not run it"):
        train_sft(run_dir, SftOptions(max_steps=1))
    assert run_dir.manifest(Stage.TRAIN_SFT) is None


@pytest.mark.parametrize("argument", ["fsdp=true", "deepspeed=x.json", "fsdp_config={version: 1}"])
def test_engines_are_asked_for_by_the_launcher_only(run_dir, argument):
    with pytest.raises(UsageError) as caught:
        train_sft(run_dir, SftOptions(training=(argument,)))
    assert "accelerate launch" in caught.value.found


LAUNCHER = Path(__file__).with_name("sharded_on_cpu.py")
CONFIGS = Path(__file__).parents[2] / "sample_configs"
ENGINES = [
    "fsdp2",
    pytest.param("zero2", marks=pytest.mark.extra("deepspeed")),
    pytest.param("zero3", marks=pytest.mark.extra("deepspeed")),
]
SFT = [
    *("train-sft", "--learning-rate", "1e-2", "--lora-dropout", "0", "--save-steps", "1"),
    *("--per-device-batch-size", "1", "--gradient-accumulation", "2", "--max-steps", "4"),
    *("--weight-decay", "0.1", "--max-grad-norm", "0.1"),
]
RL = [
    *("train-rl", "--learning-rate", "1e-2", "--max-steps", "2", "--num-generations", "4"),
    *("--per-device-batch-size", "8", "--gradient-accumulation", "1", "--weight-decay", "0.1"),
    *(
        "--max-completion-length",
        "8",
        "--rewards",
        "format,tests.faults.rewards.length",
        "--kl-beta",
        "0.1",
    ),
]


def run_on_two(engine, arguments, run_dir, **variables):
    """Runs a command on two processes; `plain` is torchrun, others the sample configurations."""
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2"]
    if engine != "plain":
        config = str(CONFIGS / f"accelerate-{engine}.yaml")
        launcher = ["-m", "accelerate.commands.launch", "--config_file", config]
        launcher += ["--num_processes", "2", "--main_process_port", free_port()]
    else:
        launcher += ["--master_port", free_port()]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"} | variables
    return subprocess.run(
        [sys.executable, *launcher, str(LAUNCHER), *arguments, "--run-dir", str(run_dir.root)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def finish(*arguments, **variables):
    done = run_on_two(*arguments, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def copy(run_dir, folder):
    shutil.copytree(run_dir.root, folder)
    return RunDir(folder)


def adapter_file(run_dir, stage):
    return run_dir.folder(stage) / "adapter" / "adapter_model.safetensors"


def adapter(run_dir, stage):
    return read_tensors(adapter_file(run_dir, stage))[0]


def losses(run_dir, stage):
    lines = (run_dir.folder(stage) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def frozen_that_moved(run_dir, before, after, flag):
    """Counts frozen elements whose bytes differ; a restatement without torch."""
    flags, _ = read_mask(run_dir.folder(Stage.PARTITION) / "mask.safetensors")
    active = active_elements(flags, flag)
    was, now = adapter(run_dir, before), adapter(run_dir, after)
    return sum(
        int(((was[name].view(np.uint32) != now[name].view(np.uint32)) & ~active[name]).sum())
        for name in was
    )


def assert_same(one, two, stage):
    """The same losses and adapter, except for the order in which processes sum gradients."""
    assert losses(one, stage) == pytest.approx(losses(two, stage), rel=1e-5, abs=1e-6)
    first, second = adapter(one, stage), adapter(two, stage)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        np.testing.assert_allclose(second[name], tensor, rtol=0, atol=1e-6)


def test_fsdp2_freezes_as_one_process_does(run_dir, tmp_path):
    """The short test of the default suite; the others take minutes."""
    whole = copy(run_dir, tmp_path / "whole")
    options = SftOptions(
        learning_rate=1e-2,
        lora_dropout=0.0,
        per_device_batch_size=4,
        gradient_accumulation=1,
        max_steps=4,
        weight_decay=0.1,
        max_grad_norm=0.1,
    )
    train_sft(whole, options)
    finish("fsdp2", SFT, run_dir)
    assert frozen_that_moved(run_dir, Stage.SCORE, Stage.TRAIN_SFT, Flag.SFT) == 0
    assert_same(whole, run_dir, Stage.TRAIN_SFT)
    counts = run_dir.manifest(Stage.TRAIN_SFT).counts
    assert counts["active_moved"] == counts["active"]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_sft_divided_is_sft_whole_and_resumes_to_the_same_bytes(run_dir, tmp_path, engine):
    whole, straight = copy(run_dir, tmp_path / "whole"), copy(run_dir, tmp_path / "straight")
    finish("plain", SFT, whole)
    finish(engine, SFT, straight)
    assert frozen_that_moved(straight, Stage.SCORE, Stage.TRAIN_SFT, Flag.SFT) == 0
    assert_same(whole, straight, Stage.TRAIN_SFT)
    manifest = straight.manifest(Stage.TRAIN_SFT)
    assert manifest.counts["active_moved"] == manifest.counts["active"]
    wanted = "optimizer state exists for frozen elements too"
    assert any(wanted in note for note in manifest.notes)
    # The second process writes its own part.
    checkpoint = straight.folder(Stage.TRAIN_SFT) / "checkpoints" / "checkpoint-4"
    parts = "pytorch_model_fsdp_0/__1_0*" if engine == "fsdp2" else "global_step4/zero_pp_rank_1_*"
    assert list(checkpoint.glob(parts))

    assert run_on_two(engine, SFT, run_dir, DIE_AFTER_STEP="2").returncode != 0
    refused = run_on_two("plain", SFT, run_dir)
    assert refused.returncode != 0
    assert "cannot be resumed by this launch" in refused.stderr
    finish(engine, SFT, run_dir)
    assert "resumed" in " ".join(run_dir.manifest(Stage.TRAIN_SFT).notes)
    one, two = (adapter_file(run, Stage.TRAIN_SFT).read_bytes() for run in (straight, run_dir))
    assert one == two
    assert losses(run_dir, Stage.TRAIN_SFT) == losses(straight, Stage.TRAIN_SFT)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_grpo_divided_is_grpo_whole(run_dir, tmp_path, engine):
    train_sft(run_dir, SftOptions(learning_rate=1e-2, max_steps=2))
    whole = copy(run_dir, tmp_path / "whole")
    finish("plain", RL, whole)
    finish(engine, RL, run_dir)
    assert frozen_that_moved(run_dir, Stage.TRAIN_SFT, Stage.TRAIN_RL, Flag.RL) == 0
    assert_same(whole, run_dir, Stage.TRAIN_RL)
    counts = run_dir.manifest(Stage.TRAIN_RL).counts
    assert counts["active_moved"] > 0.5 * counts["active"]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_frozen_elements_stay_where_engines_compute_in_bfloat16(run_dir, engine):
    """DeepSpeed rounds its float32 copies from a bfloat16 model: a frozen one would move."""
    printed = finish(engine, [*SFT, "--dtype", "bfloat16", "--json"], run_dir, BFLOAT16="1")
    # DeepSpeed writes to stdout, where results alone may be.
    assert json.loads(printed)["stage"] == "train-sft"
    assert frozen_that_moved(run_dir, Stage.SCORE, Stage.TRAIN_SFT, Flag.SFT) == 0
    counts = run_dir.manifest(Stage.TRAIN_SFT).counts
    assert counts["active_moved"] == counts["active"]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("extra", ["--gradient-checkpointing", "--dtype=float16"])
def test_what_changes_the_backward_pass_changes_nothing_else(run_dir, tmp_path, engine, extra):
    whole = copy(run_dir, tmp_path / "whole")
    finish("plain", [*SFT, extra], whole)
    finish(engine, [*SFT, extra], run_dir)
    assert frozen_that_moved(run_dir, Stage.SCORE, Stage.TRAIN_SFT, Flag.SFT) == 0
    counts = run_dir.manifest(Stage.TRAIN_SFT).counts
    assert counts["active_moved"] == counts["active"]
    # Half precision rounds the gradients that processes sum.
    close = 1e-6 if extra == "--gradient-checkpointing" else 2e-3
    first, second = adapter(whole, Stage.TRAIN_SFT), adapter(run_dir, Stage.TRAIN_SFT)
    for name, tensor in first.items():
        np.testing.assert_allclose(second[name], tensor, rtol=0, atol=close)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_doubled_adapters_train_divided_too(make_run, tmp_path, engine, init):
    """Their second half is frozen: the last rows of A and the last columns of B."""
    run = make_run(init)
    whole = copy(run, tmp_path / "whole")
    finish("plain", SFT, whole)
    finish(engine, SFT, run)
    counts = run.manifest(Stage.TRAIN_SFT).counts
    assert counts["frozen_moved"] == 0
    assert counts["active_moved"] == counts["active"]
    assert_same(whole, run, Stage.TRAIN_SFT)
    for folder in ("adapter", "adapter-raw"):
        path = folder + "/adapter_model.safetensors"
        one, two = (read_tensors(r.folder(Stage.TRAIN_SFT) / path)[0] for r in (whole, run))
        for name, tensor in one.items():
            np.testing.assert_allclose(two[name], tensor, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_grpo_divided_accumulates_and_resumes_to_the_same_bytes(run_dir, tmp_path, engine):
    train_sft(run_dir, SftOptions(learning_rate=1e-2, max_steps=2))
    straight = copy(run_dir, tmp_path / "straight")
    arguments = [*RL, "--gradient-accumulation", "2", "--per-device-batch-size", "4"]
    arguments += ["--max-steps", "3", "--save-steps", "1", "--gradient-checkpointing"]
    finish(engine, arguments, straight)
    assert run_on_two(engine, arguments, run_dir, DIE_AFTER_STEP="2").returncode != 0
    finish(engine, arguments, run_dir)
    assert "resumed" in " ".join(run_dir.manifest(Stage.TRAIN_RL).notes)
    assert frozen_that_moved(run_dir, Stage.TRAIN_SFT, Stage.TRAIN_RL, Flag.RL) == 0
    one, two = (adapter_file(run, Stage.TRAIN_RL).read_bytes() for run in (straight, run_dir))
    assert one == two
    assert losses(run_dir, Stage.TRAIN_RL) == losses(straight, Stage.TRAIN_RL)


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    ["adafactor", pytest.param("adamw_bnb_8bit", marks=pytest.mark.extra("bitsandbytes"))],
)
def test_optimizers_that_do_not_support_fsdp2_are_refused(run_dir, optimizer):
    done = run_on_two("fsdp2", [*SFT, "--optimizer", optimizer], run_dir)
    assert done.returncode != 0
    assert "does not support the sharded parameters of FSDP2" in done.stderr


def script(name, run_dir, folder, **variables):
    """Runs a script of sample_configs with two processes; SLURM's commands are stand-ins."""
    stubs = folder / "stubs"
    stubs.mkdir()
    for command, line in (("srun", 'SLURM_NODEID=0 exec "$@"'), ("scontrol", "echo 127.0.0.1")):
        (stubs / command).write_text(f"#!/bin/sh\n{line}\n")
        (stubs / command).chmod(0o755)
    for command in ("torchrun", "accelerate"):
        put_on_path(command, stubs)
    path = [str(stubs), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {
        "PATH": os.pathsep.join(path),
        "OMP_NUM_THREADS": "1",
        "GPUS": "2",
        "LORAPAR_RUN_DIR": str(run_dir.root),
        "CONFIGS": str(CONFIGS),
        "SLURM_JOB_NODELIST": "here",
        "SLURM_NNODES": "1",
        "SLURM_JOB_ID": "7",
        "PORT": free_port(),
    }
    return subprocess.run(
        ["bash", str(CONFIGS / name), "train-sft"],
        env=os.environ | environment | variables,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.parametrize("name", ["train-8gpu.sh", "train-slurm.sh"])
def test_scripts_launch_two_processes(run_dir, tmp_path, name):
    subprocess.run(["bash", "-n", str(CONFIGS / name)], check=True)
    done = script(name, run_dir, tmp_path, SFT_OPTIONS="--dry-run --json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["metrics"]["processes"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train-8gpu.sh", "train-slurm.sh"])
def test_scripts_ask_for_the_engine(run_dir, tmp_path, name):
    """Without GPUs the request arrives, and is not silently replaced by another engine."""
    done = script(name, run_dir, tmp_path, SFT_OPTIONS="--dry-run", ENGINE="fsdp2")
    assert done.returncode != 0
    assert "FSDP2 was requested, but accelerate does not run it" in done.stderr
