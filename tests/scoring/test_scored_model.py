"""The adapter that is created: whether its function is the base model's, and what is said of it."""

import numpy as np
import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.tensor_files import read_tensors
from tests.scoring.score_parts import importance_of, relative_norm, run_score


@pytest.mark.parametrize("init", ["pissa", "olora", "corda", "lora_ga"])
def test_base_changing_inits_load_on_the_unmodified_base(tmp_path, tiny_model_dir, splits, init):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    outcome = run_score(tmp_path, tiny_model_dir, splits, init=init)
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir).eval()
    ids = torch.arange(5, 25)[None]
    expected = base(input_ids=ids).logits
    adapted = PeftModel.from_pretrained(base, str(outcome.folder / "adapter")).eval()
    assert adapted.peft_config["default"].r == 8
    torch.testing.assert_close(adapted(input_ids=ids).logits, expected, atol=1e-5, rtol=1e-5)
    raw, _ = read_tensors(outcome.folder / "adapter-raw" / "adapter_model.safetensors")
    found = importance_of(tmp_path)
    assert {name: value.shape for name, value in raw.items()} == {
        name.partition("/")[2]: value.shape for name, value in found.items()
    }
    assert all(value.any() for value in raw.values())


def test_gaussian_with_a_scale_says_what_it_changes(tmp_path, tiny_model_dir, splits):
    outcome = run_score(tmp_path, tiny_model_dir, splits, init="gaussian", init_scale=0.05)
    assert outcome.manifest.metrics["step0_logit_difference"] > 1e-3
    assert any("changes the base model's function" in note for note in outcome.manifest.notes)


def test_routed_experts_that_no_target_reaches_are_said(tmp_path, tiny_model_dir, splits):
    from transformers import AutoTokenizer, MixtralConfig, MixtralForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    config = MixtralConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        pad_token_id=tokenizer.pad_token_id,
    )
    MixtralForCausalLM(config).save_pretrained(tmp_path / "moe")
    tokenizer.save_pretrained(tmp_path / "moe")
    outcome = run_score(
        tmp_path / "run",
        tmp_path / "moe",
        splits,
        target_modules=("q_proj", "v_proj"),
        samples=4,
    )
    assert any("routed experts are 3-D tensors" in note for note in outcome.manifest.notes)
    with pytest.raises(LoraparError, match="gate_proj") as raised:
        run_score(tmp_path / "run", tmp_path / "moe", splits)
    assert "routed experts are 3-D tensors" in raised.value.found


@pytest.mark.parametrize(
    ("dtype", "closest", "farthest"), [("bfloat16", 1e-5, 0.1), ("float16", 1e-6, 0.01)]
)
def test_half_precision_keeps_the_adapter_in_float32(
    tmp_path, tiny_model_dir, splits, scored, dtype, closest, farthest
):
    outcome = run_score(tmp_path, tiny_model_dir, splits, dtype=dtype)
    adapter, _ = read_tensors(outcome.folder / "adapter" / "adapter_model.safetensors")
    assert all(value.dtype == np.float32 for value in adapter.values())
    assert closest < relative_norm(importance_of(tmp_path), importance_of(scored)) < farthest
    packed = {"packing": True, "batch_tokens": 400, "dtype": dtype}
    run_score(tmp_path / "packed", tiny_model_dir, splits, **packed)
    assert relative_norm(importance_of(tmp_path / "packed"), importance_of(scored)) < farthest
