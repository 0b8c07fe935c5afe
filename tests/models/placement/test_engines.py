"""Which engines a launch may request, and what is said about the others."""

import json
from base64 import urlsafe_b64encode

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.placement import engines
from lorapar_cli.models.placement.engines import Engine, requested_engine

FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
DEEPSPEED = {"ACCELERATE_USE_DEEPSPEED": "true"}
PARALLEL = {"ACCELERATE_USE_PARALLELISM_CONFIG": "true"}


@pytest.fixture(autouse=True)
def with_deepspeed(monkeypatch):
    """What is requested must not depend on what is installed here."""
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: object())


@pytest.mark.parametrize(
    ("environment", "engine"),
    [
        ({}, Engine.WHOLE),
        ({"ACCELERATE_USE_FSDP": "false", "FSDP_VERSION": "1"}, Engine.WHOLE),
        (FSDP2, Engine.FSDP2),
        (FSDP2 | PARALLEL | {"PARALLELISM_CONFIG_DP_SHARD_SIZE": "8"}, Engine.FSDP2),
        (DEEPSPEED, Engine.ZERO2),
        (DEEPSPEED | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, Engine.ZERO3),
    ],
)
def test_engine_follows_the_launcher(environment, engine):
    assert requested_engine(environment) is engine


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, "FSDP1"),
        (FSDP2 | {"FSDP_VERSION": "1"}, "FSDP1"),
        (FSDP2 | DEEPSPEED, "both FSDP and DeepSpeed"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "Megatron-LM"),
        (FSDP2 | PARALLEL | {"PARALLELISM_CONFIG_TP_SIZE": "2"}, "tensor parallelism"),
        (FSDP2 | PARALLEL | {"PARALLELISM_CONFIG_CP_SIZE": "2"}, "context parallelism"),
        (FSDP2 | PARALLEL | {"PARALLELISM_CONFIG_SP_SIZE": "2"}, "sequence parallelism"),
        (FSDP2 | PARALLEL | {"PARALLELISM_CONFIG_DP_REPLICATE_SIZE": "2"}, "HSDP"),
        (DEEPSPEED | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "1"}, "ZeRO-1"),
    ],
)
def test_engines_that_cannot_keep_frozen_elements_are_refused(environment, said):
    with pytest.raises(LoraparError, match=said) as caught:
        requested_engine(environment)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"zero_optimization": {"stage": 0}}, "ZeRO-0"),
        ({"bf16": {"enabled": True}}, "ZeRO-0"),
        ({"zero_optimization": {"stage": 2}, "optimizer": {"type": "AdamW"}}, "`optimizer`"),
        ({"zero_optimization": {"stage": 2}, "tensor_parallel": {"autotp_size": 2}}, "tensor"),
    ],
)
def test_deepspeeds_own_file_is_read(tmp_path, content, said):
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(content))
    with pytest.raises(LoraparError, match=said):
        requested_engine(DEEPSPEED | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": str(path)})
    path.write_text('{"zero_optimization": {"stage": 3}}')
    good = DEEPSPEED | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": str(path)}
    assert requested_engine(good) is Engine.ZERO3


def test_deepspeeds_configuration_may_be_base64_as_accelerate_passes_it():
    content = json.dumps({"zero_optimization": {"stage": 3}}).encode()
    encoded = urlsafe_b64encode(content).decode()
    environment = DEEPSPEED | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": encoded}
    assert requested_engine(environment) is Engine.ZERO3


def test_configuration_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "ds.json"
    path.write_text("{")
    with pytest.raises(LoraparError, match="cannot read DeepSpeed's configuration") as caught:
        requested_engine(DEEPSPEED | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": str(path)})
    assert str(path) in caught.value.what


def test_deepspeed_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LoraparError, match="not installed"):
        requested_engine(DEEPSPEED)
