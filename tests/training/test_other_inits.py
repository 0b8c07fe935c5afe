"""Adapters of other inits and of quantized bases through the training stages."""

from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lorapar_cli.models.base_model import find_base_model, load_base
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.tools.export import ExportOptions, export
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from tests.training.training_runs import RL, SFT, lines

pytestmark = pytest.mark.usefixtures("reward_with_spread")

IDS = torch.arange(4, 40).unsqueeze(0)


def logits(model):
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.mark.parametrize(
    "init", ["corda", "lora_ga", pytest.param("loftq", marks=pytest.mark.extra("bitsandbytes"))]
)
def test_training_and_export(make_run, tmp_path, tiny_model_dir, init):
    quantize = "4bit" if init == "loftq" else None
    run = make_run(init)

    def base():
        return load_base(find_base_model(str(tiny_model_dir)), "float32", quantize=quantize)

    plain = logits(base())
    start = logits(PeftModel.from_pretrained(base(), run.folder(Stage.SCORE) / Artifact.ADAPTER))
    if init != "loftq":
        torch.testing.assert_close(start, plain, rtol=1e-4, atol=1e-4)
    train_sft(run, replace(SFT, quantize=quantize))
    train_rl(run, replace(RL, quantize=quantize, kl_beta=0.1))
    first = lines(run, Stage.TRAIN_RL, Artifact.METRICS)[0]
    assert abs(first["kl"]) < 1e-6
    for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL):
        counts = run.manifest(stage).counts
        assert counts["frozen_moved"] == 0
        assert counts["active_moved"] > 0
    trained = logits(
        PeftModel.from_pretrained(base(), run.folder(Stage.TRAIN_SFT) / Artifact.ADAPTER)
    )
    assert not torch.allclose(trained, start, atol=1e-3)
    for merge in (False, True):
        out = tmp_path / f"out-{merge}"
        dtype = "float32" if merge else "auto"
        options = ExportOptions(what="sft", out=out, merge=merge, dtype=dtype, check_logits=True)
        assert export(run, options) < 1e-4
        if merge:
            # Merged weights are of the unquantized base.
            whole = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
            expected = logits(
                PeftModel.from_pretrained(whole, run.folder(Stage.TRAIN_SFT) / Artifact.ADAPTER)
            )
            written = logits(AutoModelForCausalLM.from_pretrained(out))
        else:
            expected, written = trained, logits(PeftModel.from_pretrained(base(), out))
        torch.testing.assert_close(written, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("init", ["pissa", "olora", "gaussian"])
def test_training_starts_from_the_function_of_the_base(make_run, tiny_model_dir, init):
    """KL above zero: making the reference must not draw the init again and change the policy."""
    run = make_run(init)
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    plain = logits(base)
    if init != "gaussian":
        start = PeftModel.from_pretrained(base, run.folder(Stage.SCORE) / Artifact.ADAPTER)
        torch.testing.assert_close(logits(start), plain, rtol=1e-4, atol=1e-4)
    train_sft(run, SFT)
    train_rl(run, replace(RL, kl_beta=0.1))
    first = lines(run, Stage.TRAIN_RL, Artifact.METRICS)[0]
    assert abs(first["kl"]) < 1e-6
    for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL):
        assert run.manifest(stage).counts["frozen_moved"] == 0
        fresh = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
        loaded = PeftModel.from_pretrained(fresh, run.folder(stage) / Artifact.ADAPTER)
        assert not torch.allclose(logits(loaded), plain, atol=1e-4)


@pytest.mark.extra("bitsandbytes")
@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_adapter_of_a_quantized_base_stays_float32(make_run, quantize):
    run = make_run("orthogonal")
    # Steps that bfloat16 would round away: most elements are near 0.1, a step is 1e-5.
    options = replace(SFT, quantize=quantize, learning_rate=1e-5)
    counts = train_sft(run, options).manifest.counts
    assert counts["frozen_moved"] == 0
    assert counts["active_moved"] > 0.9 * counts["active"]
    train_rl(run, replace(RL, quantize=quantize, learning_rate=1e-5, kl_beta=0.1))
    counts = run.manifest(Stage.TRAIN_RL).counts
    assert counts["frozen_moved"] == 0
    assert counts["active_moved"] > 0.9 * counts["active"]
