"""`eval` killed at random and resumed, and under torchrun: the same files as one whole run."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lorapar_cli.names import EMBEDDED
from tests.console_scripts import console_script
from tests.ports import free_port

TEST = Path(__file__).parents[2] / "lorapar_cli" / "embedded" / "data" / "test.jsonl"
COMMAND = [
    *("-m", "lorapar_cli", "eval", "--model", EMBEDDED, "--data", str(TEST)),
    *("--limit", "240", "--batch-size", "4", "--max-new-tokens", "24"),
    *("--samples", "2", "--temperature", "0.7", "--k", "1,2"),
]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
FILES = ("samples.jsonl", "results.json")


def run(folder, *launcher, extra=()):
    command = [*(launcher or (sys.executable,)), *COMMAND, *extra, "--run-dir", str(folder)]
    finished = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return folder / "eval" / "test"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
def test_killed_five_times_it_ends_as_if_it_had_not_been(whole, tmp_path):
    generator, killed = random.Random(time.time_ns()), 0
    journal = tmp_path / "eval" / "test" / "samples.jsonl"
    lines = [0]
    while killed < 5:
        process = subprocess.Popen(
            [sys.executable, *COMMAND, "--run-dir", str(tmp_path)],
            env=ENVIRONMENT,
            stderr=subprocess.DEVNULL,
        )
        # Killed at a random moment after it has written something more.
        wanted = lines[-1] + generator.randint(1, 80)
        while process.poll() is None:
            if journal.exists() and journal.read_bytes().count(b"\n") >= wanted:
                time.sleep(generator.random() * 0.05)
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (journal.parent / "manifest.json").exists(), "killed too late to show anything"
        lines.append(journal.read_bytes().count(b"\n"))
        killed += 1
    assert lines == sorted(lines), "a resumed run lost samples"
    resumed = run(tmp_path)
    for name in FILES:
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("extra", [(), ("--shard",)], ids=["copies", "shared"])
def test_two_processes_write_what_one_writes(whole, tmp_path, extra):
    launcher = (*console_script("torchrun"), "--nproc_per_node", "2", "--master_port", free_port())
    together = run(tmp_path, *launcher, extra=extra)
    for name in FILES:
        assert (together / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(path.name for path in together.iterdir()) == [
        "manifest.json",
        "results.json",
        "samples.jsonl",
    ]


def test_processes_that_share_the_base_write_what_one_writes(run_dir, tmp_path, evaluate_in):
    """Base and two adapters, the batches divided unevenly over both processes."""
    import shutil

    from lorapar_cli.store.run_dir import RunDir

    alone = RunDir(tmp_path / "alone")
    shutil.copytree(run_dir.root, alone.root, symlinks=True)
    evaluate_in(alone, batch_size=5)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
        *("--master_port", free_port(), "-m", "lorapar_cli", "eval", "--shard"),
        *("--max-new-tokens", "12", "--batch-size", "5", "--run-dir", str(run_dir.root)),
    ]
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "FSDP2 sharded the base model over 2 processes" in done.stderr
    one, two = (each.root / "eval" / "heldout" / "samples.jsonl" for each in (alone, run_dir))
    assert one.read_bytes() == two.read_bytes()
    assert len(one.read_text().splitlines()) == 3 * 24
