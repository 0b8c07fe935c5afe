"""Whether a training run gets the engine that was requested, and resumes under its own."""

from types import SimpleNamespace

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.placement import engines
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.training.masking.engines import require_engine, require_same_engine

FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
DEEPSPEED = {"ACCELERATE_USE_DEEPSPEED": "true"}


@pytest.fixture(autouse=True)
def with_deepspeed(monkeypatch):
    """What is requested must not depend on what is installed here."""
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: object())


def made(kind, *, fsdp2=False, zero_stage=None):
    """Returns what `require_engine` looks at of an accelerator."""
    state = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=zero_stage))
    return SimpleNamespace(
        distributed_type=SimpleNamespace(value=kind), is_fsdp2=fsdp2, state=state
    )


@pytest.mark.parametrize(
    ("environment", "accelerator"),
    [
        (FSDP2, made("MULTI_CPU")),
        (FSDP2, made("NO")),
        (FSDP2, made("FSDP", fsdp2=False)),
        (DEEPSPEED, made("MULTI_GPU")),
        (DEEPSPEED, made("DEEPSPEED", zero_stage=3)),
        ({}, made("FSDP", fsdp2=True)),
        ({}, made("MEGATRON_LM")),
        ({}, made("XLA")),
    ],
)
def test_another_engine_than_the_requested_one_is_an_error(environment, accelerator):
    with pytest.raises(LoraparError, match="accelerate does not run it"):
        require_engine(accelerator, environment)


@pytest.mark.parametrize(
    ("environment", "accelerator", "engine"),
    [
        ({}, made("NO"), Engine.WHOLE),
        ({}, made("MULTI_GPU"), Engine.WHOLE),
        (FSDP2, made("FSDP", fsdp2=True), Engine.FSDP2),
        (DEEPSPEED, made("DEEPSPEED", zero_stage=2), Engine.ZERO2),
    ],
)
def test_the_requested_engine_is_accepted(environment, accelerator, engine):
    assert require_engine(accelerator, environment) is engine


# What each engine writes into a checkpoint besides the adapter.
WRITTEN = {
    Engine.WHOLE: [],
    Engine.FSDP2: ["pytorch_model_fsdp_0/x"],
    Engine.ZERO2: ["latest", "global_step4/zero_pp_rank_0_mp_rank_00_optim_states.pt"],
    Engine.ZERO3: ["latest", "global_step4/zero_pp_rank_0_mp_rank_00_model_states.pt"],
}


def checkpoint(folder, engine, processes):
    states = (
        ["rng_state.pth"] if processes == 1 else [f"rng_state_{i}.pth" for i in range(processes)]
    )
    for name in [*states, *WRITTEN[engine]]:
        path = folder / "checkpoint-4" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder / "checkpoint-4"


@pytest.mark.parametrize("now", Engine)
@pytest.mark.parametrize("before", Engine)
def test_checkpoint_is_resumed_under_its_own_engine_only(tmp_path, before, now):
    path = checkpoint(tmp_path, before, 2)
    if now is before:
        require_same_engine(path, now, 2)
        return
    with pytest.raises(LoraparError, match="cannot be resumed by this launch") as caught:
        require_same_engine(path, now, 2)
    assert f"under {before} by 2 processes" in caught.value.found
    assert f"this is {now} with 2" in caught.value.found
    assert str(tmp_path) in caught.value.hint


@pytest.mark.parametrize("engine", Engine)
@pytest.mark.parametrize("processes", [1, 3])
def test_only_engines_that_shard_need_the_same_number_of_processes(tmp_path, engine, processes):
    path = checkpoint(tmp_path, engine, 2)
    if engine is Engine.WHOLE:
        require_same_engine(path, engine, processes)
        return
    with pytest.raises(LoraparError, match="cannot be resumed by this launch"):
        require_same_engine(path, engine, processes)
