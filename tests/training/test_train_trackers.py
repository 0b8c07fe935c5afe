"""Trackers get what metrics.jsonl holds, offline; without one, none is touched.

Each is tested where it is installed: `make test-extras`.
"""

import json
import os
import sqlite3
import subprocess
import sys

import pytest

from lorapar_cli.names import Stage

SFT = [
    *("train-sft", "--max-steps", "3", "--per-device-batch-size", "2"),
    *("--gradient-accumulation", "1", "--learning-rate", "1e-2"),
]
RL = [
    *("train-rl", "--max-steps", "2", "--per-device-batch-size", "4"),
    *("--gradient-accumulation", "1", "--num-generations", "4", "--max-completion-length", "8"),
    *("--rewards", "lengths.length", "--learning-rate", "1e-2"),
]
TRAININGS = [(Stage.TRAIN_SFT, SFT, "loss"), (Stage.TRAIN_RL, RL, "reward")]


def run(folder, run_dir, arguments, **variables):
    """Runs a command in `folder`, where trackers write."""
    folder.mkdir(exist_ok=True)
    # A random model is never right; the length of its completions differs.
    (folder / "lengths.py").write_text(
        "def length(completions, references):\n    return [len(each) for each in completions]\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "lorapar_cli", *arguments, "--run-dir", str(run_dir.root)],
        cwd=folder,
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def logged(run_dir, stage, key):
    lines = (run_dir.folder(stage) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)[key] for line in lines]


@pytest.mark.extra("tensorboard")
def test_tensorboard_gets_the_metrics(run_dir, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for stage, arguments, key in TRAININGS:
        run(tmp_path / "here", run_dir, [*arguments, "--report-to", "tensorboard"])
        (events,) = (run_dir.folder(stage) / "checkpoints").glob("runs/*/events*")
        scalars = EventAccumulator(str(events.parent)).Reload().Scalars(f"train/{key}")
        assert [s.value for s in scalars] == pytest.approx(logged(run_dir, stage, key), rel=1e-6)


@pytest.mark.extra("wandb")
def test_wandb_gets_the_metrics_offline(run_dir, tmp_path):
    for _, arguments, key in TRAININGS:
        here = tmp_path / arguments[0]
        run(here, run_dir, [*arguments, "--report-to", "wandb"], WANDB_MODE="offline")
        (written,) = (here / "wandb").glob("offline-run-*/run-*.wandb")
        assert f"train/{key}".encode() in written.read_bytes()


@pytest.mark.extra("trackio")
def test_trackio_gets_the_metrics_offline(run_dir, tmp_path):
    for stage, arguments, key in TRAININGS:
        folder = tmp_path / f"tracked-{arguments[0]}"
        command = [*arguments, "--report-to", "trackio"]
        run(tmp_path / "here", run_dir, command, TRACKIO_DIR=str(folder))
        (database,) = folder.glob("*.db")
        rows = sqlite3.connect(database).execute("SELECT metrics FROM metrics ORDER BY id")
        tracked = [json.loads(row) for (row,) in rows]
        found = [row[f"train/{key}"] for row in tracked if f"train/{key}" in row]
        assert found == pytest.approx(logged(run_dir, stage, key), rel=1e-6)


@pytest.mark.extra("mlflow")
def test_mlflow_gets_the_metrics_offline(run_dir, tmp_path):
    for stage, arguments, key in TRAININGS:
        database = tmp_path / f"{arguments[0]}.db"
        command = [*arguments, "--report-to", "mlflow"]
        run(tmp_path / "here", run_dir, command, MLFLOW_TRACKING_URI=f"sqlite:///{database}")
        query = "SELECT value FROM metrics WHERE key = ? ORDER BY step"
        found = [value for (value,) in sqlite3.connect(database).execute(query, [key])]
        assert found == pytest.approx(logged(run_dir, stage, key), rel=1e-6)


@pytest.mark.extra("swanlab")
def test_swanlab_gets_the_metrics_offline(run_dir, tmp_path):
    for _, arguments, key in TRAININGS:
        here = tmp_path / arguments[0]
        run(here, run_dir, [*arguments, "--report-to", "swanlab"], SWANLAB_MODE="offline")
        (written,) = (here / "swanlog").glob("run-*/run-*.swanlab")
        assert f"train/{key}".encode() in written.read_bytes()


def test_none_is_none_where_one_is_installed_and_configured(run_dir, tmp_path):
    """A stand-in that cannot be used: to import it is harmless, to start a run is not."""
    package = tmp_path / "packages" / "wandb"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "run = None\n__version__ = '1.0'\ndef __getattr__(name):\n"
        "    if name.startswith('__'):\n        raise AttributeError(name)\n"
        "    raise SystemExit('wandb was used: ' + name)\n"
    )
    variables = {"WANDB_API_KEY": "0" * 40, "WANDB_PROJECT": "mine", "WANDB_MODE": "online"}
    path = os.pathsep.join(filter(None, [str(package.parent), os.environ.get("PYTHONPATH")]))
    here = tmp_path / "here"
    for arguments in (SFT, RL):
        run(here, run_dir, arguments, PYTHONPATH=path, **variables)
    assert {path.name for path in here.iterdir()} <= {"lengths.py", "__pycache__"}


def test_a_folder_named_as_a_tracker_does_no_harm(run_dir, tmp_path):
    """wandb and trackio leave such folders where commands are typed."""
    for name in ("wandb", "trackio"):
        (tmp_path / "here" / name).mkdir(parents=True)
    run(tmp_path / "here", run_dir, [*SFT, "--save-steps", "1"])
