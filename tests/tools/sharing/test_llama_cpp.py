"""llama.cpp computes with exports what PEFT and transformers do: merged, and adapter on its base."""

import json
import subprocess
import sys
import urllib.request

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lorapar_cli import RunDir
from lorapar_cli.models.adapter import create_adapter, save_adapter
from lorapar_cli.models.base_model import find_base_model, load_base
from lorapar_cli.names import Stage
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.tools.export import ExportOptions, export
from tests.labelling.tiny_teachers import LLAMA_SERVER, write_gguf, write_lora_gguf

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

PROMPT = [5, 40, 99, 7, 130, 12, 64]


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny_model_dir):
    """An adapter unlike its base model, exported as it is and merged."""
    root = tmp_path_factory.mktemp("llama")
    run = RunDir(root / "run")
    base = find_base_model(str(tiny_model_dir))
    targets = ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "down_proj"]
    model = create_adapter(
        load_base(base), r=4, lora_alpha=8, target_modules=targets, init="gaussian", seed=0
    )
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    for stage in (Stage.CLASSIFY, Stage.TRAIN_RL):
        folder = run.folder(stage)
        folder.mkdir(parents=True)
        if stage is Stage.TRAIN_RL:
            save_adapter(model, folder / "adapter")
        write_manifest(folder, Manifest(stage=stage, settings={}, base_model=base.to_manifest()))
    export(run, ExportOptions(root / "adapter"))
    export(run, ExportOptions(root / "merged", merge=True))
    return root


def expected(model) -> torch.Tensor:
    """Returns the log-probabilities of the next token."""
    with torch.no_grad():
        logits = model.eval()(torch.tensor([PROMPT])).logits
    return logits[0, -1].float().log_softmax(-1)


def probabilities_of(*files) -> dict[int, float]:
    """Returns token -> log-probability of the likeliest next tokens, as llama.cpp finds them."""
    command = [sys.executable, "-c", LLAMA_SERVER, *map(str, files)]
    asked = {"prompt": PROMPT, "n_predict": 1, "n_probs": 20, "temperature": 1.0, "top_k": 0}
    answer: dict = {}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            address = server.stdout.readline().strip()
            assert address, server.stderr.read()
            # Where the token that is drawn is a part of a character, the answer has no probabilities.
            for seed in range(20):
                request = urllib.request.Request(
                    f"{address}/completion",
                    json.dumps(asked | {"seed": seed}).encode(),
                    {"Content-Type": "application/json"},
                )
                with urllib.request.urlopen(request, timeout=60) as reply:
                    answer = json.load(reply)
                if "completion_probabilities" in answer:
                    break
        finally:
            server.kill()
    found = answer["completion_probabilities"][0]["top_logprobs"]
    return {each["id"]: each["logprob"] for each in found}


def same(found: dict[int, float], wanted: torch.Tensor) -> bool:
    ids = list(found)
    return torch.allclose(torch.tensor([found[i] for i in ids]), wanted[ids], rtol=0, atol=1e-2)


def test_llama_cpp_runs_exports_as_peft_does(exported, tiny_model_dir, tmp_path):
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    plain = expected(base)
    trained = expected(PeftModel.from_pretrained(base, exported / "adapter"))
    assert (trained - plain).abs().max() > 0.2
    whole = write_gguf(tiny_model_dir, tmp_path / "base.gguf")
    lora = write_lora_gguf(exported / "adapter", tiny_model_dir, tmp_path / "adapter.gguf")
    merged = write_gguf(exported / "merged", tmp_path / "merged.gguf")
    found = probabilities_of(whole)
    assert same(found, plain)
    assert not same(found, trained)
    assert same(probabilities_of(whole, lora), trained)
    assert same(probabilities_of(merged), trained)
