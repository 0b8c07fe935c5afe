"""Runs that were begun with other settings beside the result go on and end with the same bytes."""

import dataclasses
import shutil

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Advance
from lorapar_cli.names import Stage
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.options import SftOptions
from lorapar_cli.training.train_sft import train_sft

SFT = SftOptions(
    learning_rate=1e-2,
    max_steps=5,
    per_device_batch_size=2,
    gradient_accumulation=2,
    save_steps=2,
)


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def kill_at(step):
    def progress(event):
        if isinstance(event, Advance) and event.total and event.done >= step:
            raise Killed

    return progress


def adapter_bytes(run):
    return (run.folder(Stage.TRAIN_SFT) / "adapter" / "adapter_model.safetensors").read_bytes()


def test_other_save_steps_resume_to_the_same_bytes(run_dir, tmp_path):
    straight = RunDir(tmp_path / "straight")
    shutil.copytree(run_dir.root, straight.root)
    train_sft(straight, SFT)
    with pytest.raises(Killed):
        train_sft(run_dir, SFT, progress=kill_at(4))
    resumed = dataclasses.replace(SFT, save_steps=3, training=("run_name=second",))
    manifest = train_sft(run_dir, resumed).manifest
    assert any("checkpoint-2" in note for note in manifest.notes)
    assert manifest.settings["save_steps"] == 3
    assert adapter_bytes(run_dir) == adapter_bytes(straight)
    # The new rhythm holds from there on.
    checkpoints = run_dir.folder(Stage.TRAIN_SFT) / "checkpoints"
    assert {p.name for p in checkpoints.glob("checkpoint-*")} == {"checkpoint-3", "checkpoint-5"}


def test_a_result_stays_up_to_date_whatever_was_written_beside_it(run_dir):
    train_sft(run_dir, SFT)
    assert not train_sft(run_dir, dataclasses.replace(SFT, save_steps=1)).fresh
    with pytest.raises(LoraparError) as caught:
        train_sft(run_dir, dataclasses.replace(SFT, save_steps=1, weight_decay=0.5))
    assert "weight_decay" in caught.value.found
    assert "save_steps" not in caught.value.found


def test_an_unfinished_run_of_deciding_settings_is_not_thrown_away(run_dir):
    with pytest.raises(Killed):
        train_sft(run_dir, SFT, progress=kill_at(4))
    with pytest.raises(LoraparError, match="unfinished run with other settings"):
        train_sft(run_dir, dataclasses.replace(SFT, learning_rate=2e-2))
