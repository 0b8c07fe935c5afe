"""`--compile`: the same training up to rounding, frozen elements as they were, or a clear refusal."""

import shutil
import sysconfig
from dataclasses import replace

import numpy as np
import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.names import Artifact, Flag, Stage
from lorapar_cli.store.tensor_files import read_tensors
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.speed.requirements import require_speed
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from tests.training.training_runs import RL, SFT, Killed, adapter, kill_at, lines, moved

# Traces the model as the default does, and leaves out the compiler of what was traced.
TRACED = ("torch_compile_backend=eager",)


def losses(run_dir):
    steps = lines(run_dir, Stage.TRAIN_SFT, Artifact.METRICS)
    return [step["loss"] for step in steps if "loss" in step]


def compare(run_dir, training):
    """Trains with and without compilation, on batches with padding, and compares."""
    # On a GPU the default is bfloat16, whose rounding would hide what is compared.
    options = replace(
        SFT,
        dtype="float32",
        lora_dropout=0.0,
        overwrite=True,
        max_steps=2,
        gradient_accumulation=1,
    )
    train_sft(run_dir, options)
    plain, expected = adapter(run_dir, Stage.TRAIN_SFT), losses(run_dir)
    manifest = train_sft(run_dir, replace(options, compile=True, training=training)).manifest
    assert manifest.settings["compile"] is True
    np.testing.assert_allclose(losses(run_dir), expected, rtol=1e-5)
    for name, values in adapter(run_dir, Stage.TRAIN_SFT).items():
        np.testing.assert_allclose(values, plain[name], rtol=0, atol=1e-5)
    active, frozen = moved(run_dir, Stage.SCORE, Stage.TRAIN_SFT, Flag.SFT)
    assert active
    assert not frozen


def test_a_compiled_model_trains_as_it_does_otherwise(run_dir):
    compare(run_dir, TRACED)


@pytest.mark.slow
def test_the_default_compiler_trains_as_without_it(run_dir):
    compare(run_dir, ())


@pytest.mark.slow
def test_grpo_generates_and_trains_with_a_compiled_model(run_dir, reward_with_spread):
    train_sft(run_dir, replace(SFT, max_steps=1))
    found = {}
    for compiled in (False, True):
        training = TRACED if compiled else ()
        options = replace(RL, max_steps=1, compile=compiled, training=training, overwrite=True)
        manifest = train_rl(run_dir, options).manifest
        assert manifest.counts["frozen_moved"] == 0
        assert manifest.counts["active_moved"] > 0
        written = [
            line["completion"] for line in lines(run_dir, Stage.TRAIN_RL, Artifact.COMPLETIONS)
        ]
        found[compiled] = written, adapter(run_dir, Stage.TRAIN_RL)
    assert found[True][0] == found[False][0]
    for name, values in found[True][1].items():
        np.testing.assert_allclose(values, found[False][1][name], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_compiled_run_resumes_to_the_same_bytes(run_dir):
    options = replace(SFT, compile=True, training=TRACED, max_steps=3, overwrite=True)
    train_sft(run_dir, options)
    whole = adapter(run_dir, Stage.TRAIN_SFT)
    out = run_dir.root / "resumed"
    with pytest.raises(Killed):
        train_sft(run_dir, replace(options, out=out), progress=kill_at(2))
    train_sft(run_dir, replace(options, out=out))
    for name, values in read_tensors(out / "adapter" / "adapter_model.safetensors")[0].items():
        assert np.array_equal(values, whole[name])


@pytest.mark.parametrize(
    ("on_gpu", "variable", "missing"), [(False, "CXX", "g++"), (True, "CC", "gcc")]
)
def test_a_missing_compiler_is_named_before_a_model_is_loaded(
    run_dir, monkeypatch, on_gpu, variable, missing
):
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(LoraparError, match="`--compile` needs a compiler") as caught:
        require_speed(SftOptions(compile=True), Engine.WHOLE, on_gpu)
    assert f"`{missing}`" in caught.value.found
    assert "omit `--compile`" in caught.value.hint
    with pytest.raises(LoraparError, match="compiler"):
        train_sft(run_dir, replace(SFT, compile=True))
    assert not run_dir.folder(Stage.TRAIN_SFT).exists()


def test_missing_headers_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(LoraparError, match="Python's headers") as caught:
        require_speed(RlOptions(compile=True), Engine.WHOLE, on_gpu=False)
    assert str(tmp_path) in caught.value.found


@pytest.mark.parametrize("engine", [Engine.FSDP2, Engine.ZERO2, Engine.ZERO3])
def test_sharding_engines_are_refused(engine):
    with pytest.raises(LoraparError, match="`--compile` cannot be used under"):
        require_speed(SftOptions(compile=True), engine, on_gpu=True)
