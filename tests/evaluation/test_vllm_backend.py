"""What vLLM is called with and how its outputs are read, on a stand-in for its interface.

vLLM needs a GPU: its real engine is not tested here.
"""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.tasks.task import Task
from lorapar_cli.evaluation.vllm_backend import VllmEngine, check_vllm
from lorapar_cli.models.base_model import BaseModel
from lorapar_cli.models.generation import Decoding

BASE = BaseModel("base", "base-folder", None)


@pytest.fixture
def calls(monkeypatch):
    """Puts the stand-in in place; returns the list of what it was called with."""
    made = []

    class LLM:
        def __init__(self, **settings):
            made.append(settings)

        def generate(self, prompts, sampling, lora_request=None, use_tqdm=True):
            made.append((prompts, sampling, lora_request))
            output = SimpleNamespace(text="7", token_ids=[7, 0], finish_reason="stop")
            return [SimpleNamespace(outputs=[output]) for _ in prompts]

    vllm, lora, request = ModuleType("vllm"), ModuleType("vllm.lora"), ModuleType("r")
    vllm.LLM, vllm.SamplingParams = LLM, lambda **settings: settings
    request.LoRARequest = lambda *parts: parts
    for name, module in (("vllm", vllm), ("vllm.lora", lora), ("vllm.lora.request", request)):
        monkeypatch.setitem(sys.modules, name, module)
    return made


def adapter(folder, r):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        f'{{"peft_type": "LORA", "r": {r}, "task_type": "CAUSAL_LM"}}'
    )
    (folder / "adapter_model.safetensors").touch()
    return folder


def test_engine_makes_room_for_the_largest_adapter(calls, tmp_path):
    folders = [adapter(tmp_path / "a", 4), adapter(tmp_path / "b", 12)]
    engine = VllmEngine(BASE, "auto", folders, False)
    assert calls[0]["model"] == "base-folder"
    assert calls[0]["max_lora_rank"] == 16
    found = engine.model(folders[1]).complete([[1, 2], [3]], Decoding(5, stop=["\n"]), 2**40)
    assert [(one.text, one.tokens, one.finished) for one in found] == [("7", 2, True)] * 2
    prompts, sampling, request = calls[1]
    assert prompts == [{"prompt_token_ids": [1, 2]}, {"prompt_token_ids": [3]}]
    assert (sampling["max_tokens"], sampling["temperature"], sampling["stop"]) == (5, 0.0, ["\n"])
    assert sampling["repetition_penalty"] == 1
    assert 0 <= sampling["seed"] < 2**31
    assert request == ("adapter-2", 2, str(folders[1]))
    engine.model(None).complete([[1]], Decoding(5), 0)
    assert calls[2][2] is None


def test_engine_without_adapters_has_no_room_for_them(calls):
    VllmEngine(BASE, "auto", [], False)
    assert calls[0]["enable_lora"] is False


def test_what_vllm_cannot_do_is_refused(calls, tmp_path):
    with pytest.raises(UsageError, match="does not compare likelihoods"):
        check_vllm(Task("mmlu", "likelihood", [], {}))
    with pytest.raises(LoraparError, match="up to r 512"):
        VllmEngine(BASE, "auto", [adapter(tmp_path / "a", 1000)], False)


def test_without_vllm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(LoraparError, match="needs vLLM"):
        check_vllm(Task("data", "answer", [], {}))
