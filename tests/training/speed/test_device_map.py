"""`--device-map auto` in training: the same adapter, byte for byte, and refused under a launcher."""

from dataclasses import replace

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.placement import loading
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.names import Flag, Stage
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.preflight import check_training_options
from lorapar_cli.training.speed.requirements import require_placement
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from tests.training.training_runs import RL, SFT, adapter_bytes, moved

pytestmark = pytest.mark.usefixtures("reward_with_spread")


@pytest.fixture
def maps(monkeypatch):
    """Whether each base model that was loaded to train was to be distributed."""
    found, load = [], loading.load_base

    def watched(*arguments, **options):
        found.append(options["device_map"])
        return load(*arguments, **options)

    monkeypatch.setattr(loading, "load_base", watched)
    return found


def test_both_stages_train_the_same_adapter(run_dir, maps):
    sft, rl = replace(SFT, overwrite=True), replace(RL, max_steps=2, overwrite=True)
    train_sft(run_dir, sft)
    train_rl(run_dir, rl)
    plain = [adapter_bytes(run_dir, stage) for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL)]
    assert maps == [False, False]
    # Where a base model lies does not decide the adapter: a finished result would be kept.
    out = {"out": run_dir.root / "sft", "device_map": "auto"}
    train_sft(run_dir, replace(sft, **out))
    train_rl(run_dir, replace(rl, **out | {"out": run_dir.root / "rl"}))
    assert maps[2:] == [True, True]
    for name, expected in zip(("sft", "rl"), plain, strict=True):
        path = run_dir.root / name / "adapter" / "adapter_model.safetensors"
        assert path.read_bytes() == expected
    active, frozen = moved(run_dir, Stage.SCORE, Stage.TRAIN_SFT, Flag.SFT)
    assert active
    assert not frozen


@pytest.mark.parametrize("options", [SftOptions, RlOptions])
def test_several_processes_are_refused_before_anything_is_read(monkeypatch, options):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one process") as caught:
        check_training_options(options(device_map="auto"), ["device_map"])
    assert "2 processes" in caught.value.found
    assert "launcher" in caught.value.hint
    check_training_options(options(), [])


@pytest.mark.parametrize("engine", [Engine.FSDP2, Engine.ZERO2, Engine.ZERO3])
def test_an_engine_that_places_parameters_is_refused(engine):
    with pytest.raises(LoraparError, match="cannot be used under"):
        require_placement(SftOptions(device_map="auto"), engine, 1)
    require_placement(SftOptions(), engine, 8)
    require_placement(SftOptions(device_map="auto"), Engine.WHOLE, 1)
