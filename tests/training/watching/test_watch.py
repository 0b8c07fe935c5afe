"""Watched trainings: what is measured, that it disturbs nothing, and which step is published."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import load_adapter
from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer
from lorapar_cli.models.measuring.forgetting import record_losses
from lorapar_cli.models.measuring.records import RecordSet
from lorapar_cli.models.rendering.encoding import encode_records
from lorapar_cli.names import Artifact, Flag, Stage
from lorapar_cli.stage_records.training import RlRecord, SftRecord
from lorapar_cli.store.records import read_records
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from lorapar_cli.training.watching.watch import Watch
from tests.pipeline_runs import hold_out
from tests.training.test_train_resume import copy
from tests.training.training_runs import Killed, adapter_bytes, kill_at, lines, moved
from tests.training.watching.watched_runs import rl, sft, write_validation

pytestmark = pytest.mark.usefixtures("reward_with_spread")

STAGES = [(train_sft, Stage.TRAIN_SFT, sft), (train_rl, Stage.TRAIN_RL, rl)]


def measured(run_dir, stage):
    """Returns the lines of metrics.jsonl that measure, and the others."""
    every = [
        {k: v for k, v in line.items() if k != "step_time"}
        for line in lines(run_dir, stage, Artifact.METRICS)
    ]
    return (
        [line for line in every if "neutral_loss" in line or "validation" in line],
        [line for line in every if "loss" in line],
    )


@pytest.mark.parametrize(("train", "stage", "options"), STAGES)
def test_measuring_disturbs_no_training(run_dir, tmp_path, train, stage, options):
    """Dropout in SFT and sampling in RL would show a random number drawn too many."""
    plain, unwatched = copy(run_dir, tmp_path / "plain"), copy(run_dir, tmp_path / "off")
    validation = write_validation(tmp_path)
    train(run_dir, options(tmp_path, watch=2, eval_steps=1, validation=validation))
    train(plain, options(tmp_path))
    train(unwatched, options(tmp_path, forgetting=False))
    assert adapter_bytes(run_dir, stage) == adapter_bytes(unwatched, stage)
    assert adapter_bytes(plain, stage) == adapter_bytes(unwatched, stage)
    watched, steps = measured(run_dir, stage)
    assert watched
    assert steps == measured(unwatched, stage)[1]
    # Without --watch nothing is added to the log.
    assert lines_without_times(plain, stage) == lines_without_times(unwatched, stage)


def lines_without_times(run_dir, stage):
    return [
        {key: value for key, value in line.items() if key != "step_time"}
        for line in lines(run_dir, stage, Artifact.METRICS)
    ]


@pytest.mark.parametrize(("train", "stage", "options"), STAGES)
def test_a_killed_run_ends_with_the_same_figures_and_choice(
    run_dir, tmp_path, train, stage, options
):
    straight = copy(run_dir, tmp_path / "straight")
    chosen = options(
        tmp_path, watch=2, eval_steps=1, keep="best", validation="0.25", eval_match="exact"
    )
    train(straight, chosen)
    with pytest.raises(Killed):
        train(run_dir, chosen, progress=kill_at(3))
    train(run_dir, chosen)
    assert adapter_bytes(run_dir, stage) == adapter_bytes(straight, stage)
    assert lines_without_times(run_dir, stage) == lines_without_times(straight, stage)
    mine, theirs = (each.manifest(stage) for each in (run_dir, straight))
    for key in ("forgetting", "validation"):
        assert mine.metrics[key] == theirs.metrics[key]
    assert mine.notes[-1] == theirs.notes[-1]


def test_figures_are_those_of_the_adapter_on_disk(run_dir, tmp_path, tiny_model_dir):
    outcome = train_sft(run_dir, sft(tmp_path, watch=4))
    found = outcome.manifest.record(SftRecord).metrics["forgetting"]
    base = find_base_model(str(tiny_model_dir))
    model = load_base(base, "float32")
    adapted = load_adapter(model, outcome.folder / Artifact.ADAPTER, trainable=False).eval()
    held_out = read_records(run_dir.folder(Stage.CLASSIFY) / Artifact.HELD_OUT)
    encoded = encode_records(load_tokenizer(base), held_out)
    for system in ("system1", "system2"):
        own = [encoded[n] for n, record in enumerate(held_out) if record.label == system]
        losses = record_losses(adapted, own, base_pad(base))
        assert found["after"]["loss"][system] == pytest.approx(np.mean(losses), rel=1e-6)
        with adapted.disable_adapter():
            losses = record_losses(adapted, own, base_pad(base))
        # An orthogonal start computes what the base model does.
        assert found["before"]["loss"][system] == pytest.approx(np.mean(losses), rel=1e-4)
    assert found["others"] == ["system2"]
    assert found["basis"]["records"] == {"system1": 2, "system2": 2}
    assert found["basis"]["prompts"] == {"system1": 2}
    assert found["before"]["kl"]["system1"] < 1e-6 < found["after"]["kl"]["system1"]
    assert found["after"]["neutral_loss"] != found["before"]["neutral_loss"]
    steps = [line["step"] for line in measured(run_dir, Stage.TRAIN_SFT)[0]]
    assert steps == [0, 4, 6]


def base_pad(base):
    return load_tokenizer(base).pad_token_id


def fake_validation(monkeypatch, values):
    """Has the validation loss of steps 1, 2, ... be these."""
    heard = iter(values)
    real = Watch._validate

    def validate(self, control, state):
        if state.global_step == 0:
            return real(self, control, state)
        value = next(heard)
        with monkeypatch.context() as patch:
            patch.setattr(RecordSet, "losses", lambda *_: {"system1": [value]})
            return real(self, control, state)

    monkeypatch.setattr(Watch, "_validate", validate)


def test_the_best_step_is_published_and_its_frozen_elements_have_not_moved(
    run_dir, tmp_path, monkeypatch
):
    """The published adapter is that of a run which ends at the best step."""
    constant = {"scheduler": "constant_with_warmup", "warmup": 0, "lora_dropout": 0.1}
    shorter = copy(run_dir, tmp_path / "shorter")
    validation = write_validation(tmp_path)
    train_sft(shorter, replace(sft(tmp_path), max_steps=2, **constant))
    fake_validation(monkeypatch, [0.9, 0.3, 0.5, 0.3, 0.4, 0.8])
    outcome = train_sft(
        run_dir,
        replace(
            sft(tmp_path, eval_steps=1, keep="best", validation=validation, watch=6), **constant
        ),
    )
    assert adapter_bytes(run_dir, Stage.TRAIN_SFT) == adapter_bytes(shorter, Stage.TRAIN_SFT)
    assert moved(run_dir, Stage.SCORE, Stage.TRAIN_SFT, Flag.SFT)[1] == 0
    found = outcome.manifest.metrics
    assert found["steps"] == 6
    assert found["validation"]["published_step"] == found["validation"]["best_step"] == 2
    assert [point["step"] for point in found["validation"]["points"]] == [0, 2, 6]
    assert "step 2 of 6 is published" in outcome.manifest.notes[-1]
    # Forgetting is that of what was published, not of the last step.
    theirs = shorter.manifest(Stage.TRAIN_SFT).metrics["forgetting"]
    assert found["forgetting"]["after"] == theirs["after"]


@pytest.mark.parametrize("keep", ["best", "last"])
def test_training_stops_when_nothing_gets_better(run_dir, tmp_path, monkeypatch, keep):
    validation = write_validation(tmp_path)
    options = sft(tmp_path, eval_steps=1, keep=keep, stop_after=2, validation=validation)
    straight = copy(run_dir, tmp_path / "straight")
    with monkeypatch.context() as patch:
        fake_validation(patch, [0.9, 0.3, 0.5, 0.4])
        outcome = train_sft(straight, options)
    assert outcome.manifest.metrics["steps"] == 4
    assert any("stopped at step 4" in note for note in outcome.manifest.notes)
    assert outcome.manifest.metrics["validation"]["published_step"] == (2 if keep == "best" else 4)
    # Killed before the result was written: the checkpoint of step 4 stops at once.
    with monkeypatch.context() as patch:
        fake_validation(patch, [0.9, 0.3, 0.5, 0.4])
        patch.setattr(Watch, "conclude", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            train_sft(run_dir, options)
    train_sft(run_dir, options)
    assert adapter_bytes(run_dir, Stage.TRAIN_SFT) == adapter_bytes(straight, Stage.TRAIN_SFT)


@pytest.mark.parametrize(("train", "stage", "options"), STAGES)
@pytest.mark.parametrize(("keep", "killed_at"), [("best", 4), ("best", 2), ("last", 3)])
def test_a_killed_run_stops_where_a_whole_one_does(
    run_dir, tmp_path, monkeypatch, train, stage, options, keep, killed_at
):
    """Evaluations before the kill count: step 2 is the best one, steps 3 and 4 are not better."""
    watched = options(tmp_path, eval_steps=1, validation="0.25", eval_match="exact")
    chosen = replace(watched, keep=keep, stop_after=2, max_steps=6, save_steps=1)
    straight = copy(run_dir, tmp_path / "straight")
    real, better = Watch._validate, 0.9 if stage == Stage.TRAIN_RL else 0.1

    def validate(self, control, state):
        value = better if state.global_step == 2 else 0.5
        with monkeypatch.context() as patch:
            for measure in ("losses", "answers"):
                patch.setattr(
                    RecordSet, measure, lambda *_: {"system1": [value], "system2": [value]}
                )
            return real(self, control, state)

    monkeypatch.setattr(Watch, "_validate", validate)
    whole = train(straight, chosen)
    with pytest.raises(Killed):
        train(run_dir, chosen, progress=kill_at(killed_at))
    resumed = train(run_dir, chosen)
    assert any("resumed" in note for note in resumed.manifest.notes)
    assert whole.manifest.metrics["steps"] == resumed.manifest.metrics["steps"] == 4
    assert resumed.manifest.metrics["validation"] == whole.manifest.metrics["validation"]
    assert whole.manifest.metrics["validation"]["best_step"] == 2
    assert whole.manifest.metrics["validation"]["published_step"] == (2 if keep == "best" else 4)
    assert adapter_bytes(run_dir, stage) == adapter_bytes(straight, stage)
    assert lines_without_times(run_dir, stage) == lines_without_times(straight, stage)


def test_the_validation_part_is_not_trained_on(run_dir, tmp_path):
    outcome = train_rl(
        run_dir, rl(tmp_path, eval_steps=2, validation="0.25", replay=0.4, eval_match="exact")
    )
    counts = outcome.manifest.record(RlRecord).counts
    # 3 of 12 records a system; of the 9 that are left to each, 9 and 6.
    assert counts["validation_records"] == {"system1": 3, "system2": 3}
    assert counts["records"] == {"system1": 6, "system2": 9}
    trained = {line["id"] for line in lines(run_dir, Stage.TRAIN_RL, Artifact.COMPLETIONS)}
    assert trained
    metrics = outcome.manifest.record(RlRecord).metrics
    assert metrics["validation"]["records"] == {"system1": 3, "system2": 3}
    assert metrics["validation"]["measure"] == "accuracy"
    assert set(metrics["validation"]["points"][0]["accuracy"]) == {"system1", "system2"}


def test_records_that_are_trained_on_are_refused_as_validation(run_dir, tmp_path):
    validation = write_validation(tmp_path, same=["What is 3 plus 4?"])
    with pytest.raises(LoraparError, match="1 validation record is trained on") as caught:
        train_sft(run_dir, sft(tmp_path, eval_steps=2, validation=validation))
    assert "v0" in caught.value.found
    assert run_dir.manifest(Stage.TRAIN_SFT) is None


def test_the_choice_needs_a_figure(run_dir, tmp_path):
    path = tmp_path / "others.jsonl"
    asked = {"eval_steps": 2, "keep": "best", "validation": str(path)}
    row = '{"id": "a", "prompt": "Q", "completion": "It is so.", "label": "%s"}\n'
    path.write_text(row % "system2")
    with pytest.raises(LoraparError, match="no validation loss to go by"):
        train_sft(run_dir, sft(tmp_path, **asked))
    with pytest.raises(LoraparError, match="no validation accuracy to go by"):
        train_rl(run_dir, rl(tmp_path, **asked))
    # Where nothing is chosen by it, it is measured all the same.
    train_sft(run_dir, sft(tmp_path, eval_steps=6, validation=str(path)))


def test_a_run_without_held_out_records_says_what_it_can(run_dir, tmp_path):
    hold_out(run_dir, [])
    found = train_sft(run_dir, sft(tmp_path)).manifest.metrics["forgetting"]
    assert found["before"]["loss"] == {}
    assert found["others"] == []
    # The distance is then measured on the prompts that the stage trains on.
    assert found["basis"]["prompts"] == {"system1": 12}
    assert found["after"]["kl"]["system1"] > 0


@pytest.mark.parametrize("way", ["gone", "a folder", "another"])
def test_held_out_records_that_were_damaged_are_not_taken_for_none(run_dir, tmp_path, way):
    path = run_dir.folder(Stage.CLASSIFY) / Artifact.HELD_OUT
    path.rename(tmp_path / "kept")
    if way == "a folder":
        path.mkdir()
    elif way == "another":
        path.write_text("")
    with pytest.raises(LoraparError) as caught:
        train_sft(run_dir, sft(tmp_path))
    assert "heldout.jsonl" in caught.value.what


def test_other_figures_do_not_make_another_result(run_dir, tmp_path):
    train_sft(run_dir, sft(tmp_path, watch=3))
    assert not train_sft(run_dir, sft(tmp_path, forgetting=False)).fresh
    with pytest.raises(LoraparError, match="other settings") as caught:
        train_sft(run_dir, sft(tmp_path, eval_steps=3))
    assert "eval_steps" in caught.value.found


def test_torch_has_no_gradients_left_and_takes_them_again(run_dir, tmp_path):
    """Every matrix takes gradients as before, though measuring switches the adapter off."""
    seen = []
    real = Watch._forgetting

    def spied(self):
        model = self._trainer.masked.model
        before = [(p.requires_grad, p.grad is None) for p in model.parameters()]
        modes = [module.training for module in model.modules()]
        state = torch.get_rng_state()
        figures = real(self)
        seen.append(
            before == [(p.requires_grad, p.grad is None) for p in model.parameters()]
            and modes == [module.training for module in model.modules()]
            and torch.equal(state, torch.get_rng_state())
        )
        return figures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "_forgetting", spied)
        train_sft(run_dir, sft(tmp_path, watch=3))
    assert seen == [True, True]


def test_held_out_records_that_cannot_be_rendered_cost_their_figures_only(run_dir, tmp_path):
    """The stage does not train on them, and its own records are fine."""
    records = read_records(run_dir.folder(Stage.CLASSIFY) / Artifact.HELD_OUT)
    records[0].tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    hold_out(run_dir, records)
    manifest = train_sft(run_dir, sft(tmp_path)).manifest
    assert any("held-out records are not measured on" in note for note in manifest.notes)
    found = manifest.metrics["forgetting"]
    assert found["after"]["loss"] == {}
    assert found["basis"]["prompts"] == {"system1": 12}
