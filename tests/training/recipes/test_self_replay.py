"""Replay of the base model's own answers: sampled once, from the base, and trained on as they are."""

from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.adapter import load_adapter
from lorapar_cli.models.base_model import find_base_model, load_base
from lorapar_cli.models.generation import Decoding
from lorapar_cli.names import Artifact, Stage, System
from lorapar_cli.stage_records.training import SftRecord
from lorapar_cli.store.records import read_records
from lorapar_cli.training.options import RlOptions
from lorapar_cli.training.recipes import sampling, self_replay
from lorapar_cli.training.train_sft import train_sft
from tests.training.test_train_resume import copy
from tests.training.training_runs import SFT, Killed, adapter_bytes, lines

SELF = replace(SFT, max_steps=2, replay=0.25, replay_source="self", sample_batch_size=2)


def test_the_base_models_answers_are_trained_on_and_kept(run_dir, batches):
    manifest = train_sft(run_dir, SELF).manifest
    record = manifest.record(SftRecord)
    figures = record.metrics["replay"]
    assert figures["asked"] == sum(batches.sizes) == 4
    assert figures["asked"] == figures["answered"] + figures["unfinished"] + figures["empty"]
    kept = read_records(run_dir.folder(Stage.TRAIN_SFT) / Artifact.REPLAY)
    assert len(kept) == figures["answered"] == record.counts["replayed_records"] > 0
    asked = {r.id: r for r in read_records(run_dir.folder(Stage.CLASSIFY) / "system2.jsonl")}
    for one in kept:
        assert one.label is System.SYSTEM2
        assert one.prompt == asked[one.id].prompt
        assert one.reference_answer == asked[one.id].reference_answer
        assert one.completion != asked[one.id].completion
    assert record.counts["records"] == {"system1": 12, "system2": len(kept)}
    assert f"{Artifact.REPLAY}" in manifest.outputs
    assert not [p for p in run_dir.folder(Stage.TRAIN_SFT).iterdir() if "unfinished" in p.name]
    assert manifest.settings["replay_temperature"] == 1.0
    assert not train_sft(run_dir, SELF).fresh


def test_answers_are_those_of_the_base_without_the_adapter(
    run_dir, tmp_path, monkeypatch, tiny_model_dir
):
    """Decoded greedily, they are what the library's own generation gives."""
    train_sft(run_dir, replace(SFT, learning_rate=0.5))
    asked = []

    def sample(preparation, tokenizer, questions):
        asked.append((questions, sampling.sample_once(preparation, tokenizer, questions)))
        return asked[0][1]

    monkeypatch.setattr(self_replay, "sample_once", sample)
    monkeypatch.setattr(self_replay, "Decoding", lambda room, _: Decoding(room))
    with suppress(LoraparError):  # A random model need not end any answer.
        train_sft(run_dir, replace(SELF, max_length=100, from_="sft", out=tmp_path / "out"))
    ((questions, sampled),) = asked
    base = load_base(find_base_model(str(tiny_model_dir)), "float32")
    tuned = load_adapter(base, run_dir.folder(Stage.TRAIN_SFT) / Artifact.ADAPTER, trainable=False)
    for prompt, (answer,) in zip(questions.prompts, sampled.answers, strict=True):
        length, ids = len(answer["tokens"]), torch.tensor([prompt])
        with tuned.disable_adapter():
            expected = tuned.generate(input_ids=ids, max_new_tokens=length, do_sample=False)
        other = tuned.generate(input_ids=ids, max_new_tokens=length, do_sample=False)
        assert [*prompt, *answer["tokens"]] == expected[0].tolist() != other[0].tolist()


def test_a_kill_loses_no_answer_and_none_is_sampled_twice(run_dir, tmp_path, batches):
    straight = copy(run_dir, tmp_path / "straight")
    train_sft(straight, SELF)
    whole = list(batches.sizes)
    batches.sizes.clear()
    batches.kill_at.add(1)
    with pytest.raises(Killed):
        train_sft(run_dir, SELF)
    train_sft(run_dir, SELF)
    assert batches.sizes == whole
    for name in (Artifact.REPLAY, Artifact.METRICS):
        assert lines(run_dir, Stage.TRAIN_SFT, name) == lines(straight, Stage.TRAIN_SFT, name)
    assert adapter_bytes(run_dir, Stage.TRAIN_SFT) == adapter_bytes(straight, Stage.TRAIN_SFT)


def test_answers_of_another_base_model_are_not_used(run_dir, batches, monkeypatch):
    batches.kill_at.add(1)
    with pytest.raises(Killed):
        train_sft(run_dir, SELF)
    assert batches.sizes == [2]
    # The same folder, settings and inputs; only the model's bytes are others.
    monkeypatch.setattr(
        "lorapar_cli.models.base_model.BaseModel.to_manifest",
        lambda base: {"id": base.id, "revision": "local:other"},
    )
    train_sft(run_dir, SELF)
    assert batches.sizes == [2, 2, 2]


def test_a_dry_run_samples_and_writes_nothing(run_dir, batches):
    manifest = train_sft(run_dir, replace(SELF, dry_run=True)).manifest
    assert batches.sizes == []
    assert not run_dir.folder(Stage.TRAIN_SFT).exists()
    assert any("is asked 4 prompts" in note for note in manifest.notes)
    assert manifest.counts["trained_records"] == 12


def test_answers_that_do_not_end_are_counted_and_without_any_it_is_an_error(run_dir):
    notes = train_sft(run_dir, replace(SELF, max_length=90)).manifest.notes
    assert any("answers of the base model are not replayed: " in note for note in notes)
    for limit, why in ((60, "4 did not end within 60 tokens"), (50, "4 had too long a prompt")):
        with pytest.raises(LoraparError, match="no answer to replay") as caught:
            train_sft(run_dir, replace(SELF, max_length=limit, overwrite=True))
        assert caught.value.found == f"of 4 answers {why}"


def test_rl_refuses_with_the_reason():
    with pytest.raises(UsageError, match="is for `train-sft`") as caught:
        RlOptions(replay=0.1, replay_source="self")
    assert "reference answers" in caught.value.found


def test_a_source_needs_a_share():
    with pytest.raises(UsageError, match="replays nothing without `--replay`"):
        replace(SFT, replay_source="self")
