"""Adapters of the inits that look at data or at quantised weights, through the later stages."""

import json
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lorapar_cli.models.base_model import find_base_model, load_base
from lorapar_cli.names import Stage
from lorapar_cli.tools.export import export
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft

SFT = SftOptions(learning_rate=1e-2, max_steps=2, per_device_batch_size=4, gradient_accumulation=1)
RL = RlOptions(
    learning_rate=1e-2,
    max_steps=1,
    per_device_batch_size=4,
    gradient_accumulation=1,
    num_generations=4,
    max_completion_length=8,
    kl_beta=0.1,
)
IDS = torch.arange(4, 40).unsqueeze(0)


def logits(model):
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.mark.parametrize("init", ["corda", "lora_ga", "loftq"])
def test_training_and_export(make_run, tmp_path, tiny_model_dir, init):
    if init == "loftq":
        pytest.importorskip("bitsandbytes")
    quantize = "4bit" if init == "loftq" else None
    run = make_run(init)

    def base():
        return load_base(find_base_model(str(tiny_model_dir)), "float32", quantize=quantize)

    plain = logits(base())
    start = logits(PeftModel.from_pretrained(base(), run.folder(Stage.SCORE) / "adapter"))
    if init != "loftq":
        torch.testing.assert_close(start, plain, rtol=1e-4, atol=1e-4)
    train_sft(run, replace(SFT, quantize=quantize))
    train_rl(run, replace(RL, quantize=quantize))
    first = json.loads((run.folder(Stage.TRAIN_RL) / "metrics.jsonl").read_text().splitlines()[0])
    assert abs(first["kl"]) < 1e-6
    for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL):
        counts = run.manifest(stage).counts
        assert counts["frozen_moved"] == 0
        assert counts["active_moved"] > 0
    trained = logits(PeftModel.from_pretrained(base(), run.folder(Stage.TRAIN_SFT) / "adapter"))
    assert not torch.allclose(trained, start, atol=1e-3)
    for merge in (False, True):
        out = tmp_path / f"out-{merge}"
        assert export(run, what="sft", out=out, merge=merge, dtype="float32") < 1e-4
        if merge:
            # Merged weights are of the unquantised base.
            whole = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
            expected = logits(
                PeftModel.from_pretrained(whole, run.folder(Stage.TRAIN_SFT) / "adapter")
            )
            written = logits(AutoModelForCausalLM.from_pretrained(out))
        else:
            expected, written = trained, logits(PeftModel.from_pretrained(base(), out))
        torch.testing.assert_close(written, expected, rtol=0, atol=1e-4)
