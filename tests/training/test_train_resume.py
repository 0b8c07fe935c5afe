"""Interrupted runs end with the bytes and figures of runs that were never interrupted."""

import shutil
from dataclasses import replace

import pytest
import torch
from transformers.trainer_pt_utils import safe_globals

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.store import resumable_folder
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from tests.training.training_runs import RL, SFT, Killed, adapter_bytes, kill_at, lines

pytestmark = pytest.mark.usefixtures("reward_with_spread")

STAGE_OF = {train_sft: Stage.TRAIN_SFT, train_rl: Stage.TRAIN_RL}
# Three steps over the records once, or over a part of them.
SHORT_SFT = SftOptions(
    learning_rate=1e-2,
    epochs=1.0,
    per_device_batch_size=4,
    gradient_accumulation=1,
    save_steps=1,
    forgetting=False,
)
SHORT_RL = RlOptions(
    learning_rate=1e-2,
    epochs=0.25,
    per_device_batch_size=4,
    gradient_accumulation=1,
    num_generations=4,
    max_completion_length=8,
    save_steps=1,
    rewards="length",
    from_="init",
    forgetting=False,
)


def copy(run_dir, folder) -> RunDir:
    shutil.copytree(run_dir.root, folder)
    return RunDir(folder)


@pytest.mark.parametrize(("stage", "options"), [(train_sft, SFT), (train_rl, RL)])
def test_resumed_run_ends_with_the_same_bytes(run_dir, tmp_path, stage, options):
    if stage is train_rl:
        train_sft(run_dir, SFT)
    name = STAGE_OF[stage]
    straight = copy(run_dir, tmp_path / "straight")
    stage(straight, options)
    with pytest.raises(Killed):
        stage(run_dir, options, progress=kill_at(3))
    assert run_dir.manifest(name) is None
    outcome = stage(run_dir, options)
    assert any("resumed" in note for note in outcome.manifest.notes)
    assert adapter_bytes(run_dir, name) == adapter_bytes(straight, name)
    resumed, whole = (
        [
            {k: v for k, v in line.items() if k != "step_time"}
            for line in lines(run, name, Artifact.METRICS)
        ]
        for run in (run_dir, straight)
    )
    assert [line["step"] for line in resumed] == list(range(1, options.max_steps + 1))
    assert resumed == whole


def killed(*_, **__):
    raise Killed


@pytest.mark.parametrize(
    ("stage", "options", "figure"), [(train_sft, SHORT_SFT, "loss"), (train_rl, SHORT_RL, "reward")]
)
@pytest.mark.parametrize("late", [False, True])
def test_figures_are_those_of_all_steps(
    run_dir, tmp_path, monkeypatch, stage, options, figure, late
):
    straight = copy(run_dir, tmp_path / "straight")
    expected = stage(straight, options).manifest.metrics
    with monkeypatch.context() as patch, pytest.raises(Killed):
        if late:  # The last checkpoint is there, the result is not yet.
            patch.setattr(resumable_folder, "write_manifest", killed)
            stage(run_dir, options)
        else:
            stage(run_dir, options, progress=kill_at(3))
    assert run_dir.manifest(STAGE_OF[stage]) is None
    metrics = stage(run_dir, options).manifest.metrics
    assert metrics["steps"] == expected["steps"] == 3
    assert metrics[figure] == expected[figure]


SAVED = replace(SFT, max_steps=5, save_steps=2)


def test_other_save_steps_resume_to_the_same_bytes(run_dir, tmp_path):
    straight = copy(run_dir, tmp_path / "straight")
    train_sft(straight, SAVED)
    with pytest.raises(Killed):
        train_sft(run_dir, SAVED, progress=kill_at(4))
    resumed = replace(SAVED, save_steps=3, training=("run_name=second",))
    manifest = train_sft(run_dir, resumed).manifest
    assert any("checkpoint-2" in note for note in manifest.notes)
    assert manifest.settings["save_steps"] == 3
    assert adapter_bytes(run_dir, Stage.TRAIN_SFT) == adapter_bytes(straight, Stage.TRAIN_SFT)
    # The new interval holds from there on.
    checkpoints = run_dir.folder(Stage.TRAIN_SFT) / Artifact.CHECKPOINTS
    assert {p.name for p in checkpoints.glob("checkpoint-*")} == {"checkpoint-3", "checkpoint-5"}


def test_nothing_in_a_checkpoint_runs_code_when_it_is_read(run_dir):
    train_sft(run_dir, SAVED)
    checkpoints = run_dir.folder(Stage.TRAIN_SFT) / Artifact.CHECKPOINTS
    pickled = [
        path for path in checkpoints.glob("*/*") if path.suffix in {".bin", ".pt", ".pth", ".pkl"}
    ]
    assert {path.name for path in pickled} == {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
    with safe_globals():
        for path in pickled:
            torch.load(path, weights_only=True)


def test_a_result_stays_up_to_date_whatever_was_written_besides_it(run_dir):
    train_sft(run_dir, SAVED)
    assert not train_sft(run_dir, replace(SAVED, save_steps=1)).fresh
    with pytest.raises(LoraparError) as caught:
        train_sft(run_dir, replace(SAVED, save_steps=1, weight_decay=0.5))
    assert "weight_decay" in caught.value.found
    assert "save_steps" not in caught.value.found


def test_an_unfinished_run_of_deciding_settings_is_not_thrown_away(run_dir):
    with pytest.raises(Killed):
        train_sft(run_dir, SAVED, progress=kill_at(4))
    with pytest.raises(LoraparError, match="unfinished run with other settings"):
        train_sft(run_dir, replace(SAVED, learning_rate=2e-2))
