"""What `--vllm async` refuses: options that it does not have, launches and servers that cannot serve."""

import importlib.util
from dataclasses import replace

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.training.options import RlOptions
from lorapar_cli.training.preflight import check_training_options, read_trainer_arguments
from lorapar_cli.training.rollouts.requirements import require_async
from lorapar_cli.training.rollouts.server import RolloutServer
from tests.training.rollouts.local_server import LORA, LocalServer, serving

ASYNC = RlOptions(vllm="async")


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"kl_beta": 0.1}, "--kl-beta"),
        ({"refill": True}, "--refill"),
        ({"find_lr": True}, "--find-lr"),
        ({"liger": True}, "--liger"),
        ({"compile": True}, "--compile"),
        ({"attention": "sdpa"}, "--attention"),
    ],
)
def test_options_that_it_does_not_have_are_refused(change, flag):
    with pytest.raises(UsageError, match=f"does not go with `{flag}`") as caught:
        require_async(replace(ASYNC, **change), Engine.WHOLE, 1)
    assert caught.value.found
    require_async(RlOptions(**change), Engine.FSDP2, 8)


@pytest.mark.parametrize(("engine", "processes"), [(Engine.WHOLE, 2), (Engine.FSDP2, 1)])
def test_several_processes_are_refused(engine, processes):
    with pytest.raises(LoraparError, match="one process"):
        require_async(ASYNC, engine, processes)


def test_a_trl_without_it_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(LoraparError, match="needs TRL's asynchronous GRPO") as caught:
        check_training_options(ASYNC, ["vllm"])
    assert "constraints.txt" in caught.value.hint


def test_arguments_are_those_of_its_own_trainer():
    given = ("max_staleness=2", "vllm_server_base_url=http://gpu:8000")
    found = read_trainer_arguments(replace(ASYNC, training=given))
    assert found == {"max_staleness": 2, "vllm_server_base_url": "http://gpu:8000"}
    with pytest.raises(UsageError, match="AsyncGRPOConfig"):
        read_trainer_arguments(replace(ASYNC, training=("num_iterations=2",)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lora_config": None}, "without `--enable-lora`"),
        ({"lora_config": LORA | {"max_lora_rank": 4}}, "rank 4, this one has 8"),
        ({"lora_config": LORA | {"max_loras": 1}}, "holds 1 adapter at once, 6 are needed"),
        ({"parallel_config": {"data_parallel_size": 2}}, "2 replicas"),
        ({"model_config": {"logprobs_mode": "raw_logprobs"}}, "before the temperature"),
    ],
)
def test_a_server_that_lacks_something_is_told_how_to_start(tiny_model_dir, settings, said):
    refused = pytest.raises(LoraparError, match="cannot be used by `--vllm async`")
    with serving(LocalServer(tiny_model_dir, 0, **settings)) as url, refused as caught:
        RolloutServer(url, 5).require(rank=8, versions=6)
    assert said in caught.value.found
    assert "--enable-lora --max-lora-rank 8 --max-loras 6" in caught.value.hint


def test_a_server_with_everything_is_accepted(tiny_model_dir):
    with serving(LocalServer(tiny_model_dir, 0)) as url:
        RolloutServer(url, 5).require(rank=8, versions=6)


def test_no_server_is_named_with_the_address_and_the_way_to_start_one():
    with pytest.raises(LoraparError, match="there is no server") as caught:
        RolloutServer("http://127.0.0.1:9", 5).require(rank=12, versions=6)
    assert "127.0.0.1:9" in caught.value.what
    # Ranks are rounded up to those that vLLM has buffers for.
    assert "--max-lora-rank 16" in caught.value.hint
