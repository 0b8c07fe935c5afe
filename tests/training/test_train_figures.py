"""The figures of a resumed run are those of a run that was never interrupted."""

import shutil

import pytest

from lorapar_cli.events import Advance
from lorapar_cli.names import Stage
from lorapar_cli.store import resumable_folder as working
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft

SFT = SftOptions(
    learning_rate=1e-2, epochs=1.0, per_device_batch_size=4, gradient_accumulation=1, save_steps=1
)
RL = RlOptions(
    learning_rate=1e-2,
    epochs=0.25,
    per_device_batch_size=4,
    gradient_accumulation=1,
    num_generations=4,
    max_completion_length=8,
    save_steps=1,
    rewards="length",
)


class Killed(BaseException):
    """Stands for kill -9 at a chosen moment."""


@pytest.fixture(autouse=True)
def reward_with_spread(monkeypatch):
    """A reward that a random model's completions differ in."""
    from lorapar_cli.training.rewards.builtin import REWARDS

    monkeypatch.setitem(REWARDS, "length", lambda texts, _: [len(set(t)) / 10 for t in texts])


def killed(*_, **__):
    raise Killed


def kill_in_step_3(event):
    if isinstance(event, Advance) and event.total and event.done >= 3:
        raise Killed


@pytest.mark.parametrize(
    ("stage", "options", "figure"), [(train_sft, SFT, "loss"), (train_rl, RL, "reward")]
)
@pytest.mark.parametrize("late", [False, True])
def test_figures_of_a_resumed_run(run_dir, tmp_path, monkeypatch, stage, options, figure, late):
    folder = Stage.TRAIN_SFT if stage is train_sft else Stage.TRAIN_RL
    straight = type(run_dir)(tmp_path / "straight")
    shutil.copytree(run_dir.root, straight.root)
    expected = stage(straight, options, start="init").manifest.metrics
    with monkeypatch.context() as patch, pytest.raises(Killed):
        if late:  # The last checkpoint is there, the result is not yet.
            patch.setattr(working, "write_manifest", killed)
            stage(run_dir, options, start="init")
        else:
            stage(run_dir, options, start="init", progress=kill_in_step_3)
    assert run_dir.manifest(folder) is None
    metrics = stage(run_dir, options, start="init").manifest.metrics
    assert metrics["steps"] == expected["steps"] == 3
    assert metrics[figure] == expected[figure]
