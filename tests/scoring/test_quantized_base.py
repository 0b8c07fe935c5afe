"""`score` on base weights in 4 and 8 bits."""

import pytest

from tests.scoring.score_parts import importance_of, relative_norm, run_score

pytestmark = pytest.mark.extra("bitsandbytes")


@pytest.mark.parametrize("init", ["orthogonal", "pissa"])
@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_quantised_base_weights(tmp_path, wider_model_dir, splits, quantize, init):
    run_score(tmp_path / "whole", wider_model_dir, splits, init=init)
    outcome = run_score(tmp_path, wider_model_dir, splits, init=init, quantize=quantize)
    assert outcome.manifest.metrics["step0_logit_difference"] < 1e-4
    if init == "orthogonal":  # pissa starts from the rounded weights' own values
        # The weights differ by their rounding, and the importance with them, but not by much.
        difference = relative_norm(importance_of(tmp_path), importance_of(tmp_path / "whole"))
        assert 1e-4 < difference < 0.5


def test_loftq_corrects_what_four_bit_weights_have_lost(tmp_path, wider_model_dir, splits):
    import torch
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    from lorapar_cli.models.base_model import find_base_model, load_base

    options = {"init": "loftq", "quantize": "4bit", "r": 8, "lora_alpha": 32}
    outcome = run_score(tmp_path, wider_model_dir, splits, **options)
    assert outcome.manifest.metrics["step0_logit_difference"] > 1e-3
    for words in ("changes the base model's function at step 0", "--quantize 4bit"):
        assert any(words in note for note in outcome.manifest.notes)
    assert all(values.any() for values in importance_of(tmp_path).values())
    ids = torch.arange(5, 65)[None]
    whole = LlamaForCausalLM.from_pretrained(wider_model_dir).eval()
    quantised = load_base(find_base_model(str(wider_model_dir)), quantize="4bit")
    with torch.no_grad():
        expected = whole(ids).logits
        rounded = (quantised(ids).logits - expected).norm()
        adapted = PeftModel.from_pretrained(quantised, str(outcome.folder / "adapter")).eval()
        corrected = (adapted(ids).logits - expected).norm()
    assert corrected < 0.95 * rounded
    again = run_score(tmp_path / "again", wider_model_dir, splits, **options).folder
    assert importance_of(tmp_path / "again").keys() == importance_of(tmp_path).keys()
    assert (again / "importance.safetensors").read_bytes() == (
        outcome.folder / "importance.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("init", ["eva", "mica"])
def test_inits_of_a_zero_half_on_quantised_weights(tmp_path, wider_model_dir, splits, init):
    options = {"init": init, "formula": "fisher", "quantize": "4bit"}
    outcome = run_score(tmp_path, wider_model_dir, splits, **options)
    assert outcome.manifest.metrics["step0_logit_difference"] == 0


def test_four_bit_gradients_are_those_of_the_dequantised_weights(tmp_path, wider_model_dir, splits):
    import bitsandbytes as bnb
    from transformers import AutoTokenizer, LlamaForCausalLM

    from lorapar_cli.models.base_model import find_base_model, load_base

    quantised = load_base(find_base_model(str(wider_model_dir)), quantize="4bit")
    plain = LlamaForCausalLM.from_pretrained(wider_model_dir)
    modules = dict(plain.named_modules())
    for name, module in quantised.named_modules():
        if isinstance(module, bnb.nn.Linear4bit):
            weight = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            modules[name].weight.data = weight.float()
    plain.save_pretrained(tmp_path / "dequantised")
    AutoTokenizer.from_pretrained(wider_model_dir).save_pretrained(tmp_path / "dequantised")
    run_score(tmp_path / "a", wider_model_dir, splits, quantize="4bit")
    run_score(tmp_path / "b", tmp_path / "dequantised", splits)
    assert relative_norm(importance_of(tmp_path / "a"), importance_of(tmp_path / "b")) < 1e-3
    packed = {"quantize": "4bit", "packing": True, "batch_tokens": 400}
    run_score(tmp_path / "c", wider_model_dir, splits, **packed)
    assert relative_norm(importance_of(tmp_path / "c"), importance_of(tmp_path / "a")) < 1e-5
