"""Models that mix the samples of a packed row are refused; rounding is not."""

import pytest
import torch
import transformers

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import create_adapter
from lorapar_cli.models.packing import check_packing
from lorapar_cli.scoring.logit_checks import step0_difference
from tests.scoring.architectures import FAMILIES, adapted, build, samples
from tests.scoring.gradient_parts import relative_norm, scored


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3", "phi", "gpt2", "mixtral"])
def test_rounding_is_not_taken_for_mixing(family, dtype):
    base = build(family).to(dtype)
    targets = list(FAMILIES[family][2])
    model = create_adapter(
        base, r=4, lora_alpha=8, target_modules=targets, init="orthogonal", seed=0
    ).eval()
    for count in (2, 9):
        check_packing(model, samples(count), 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["bloom", "mamba"])
def test_models_that_mix_packed_samples_are_refused(family, dtype):
    torch.manual_seed(0)
    config = {
        "bloom": transformers.BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4),
        "mamba": transformers.MambaConfig(
            vocab_size=97, hidden_size=32, num_hidden_layers=2, state_size=4
        ),
    }[family]
    base = transformers.AutoModelForCausalLM.from_config(config).to(dtype).eval()
    target = {"bloom": "query_key_value", "mamba": "in_proj"}[family]
    model = create_adapter(
        base, r=4, lora_alpha=8, target_modules=[target], init="orthogonal", seed=0
    ).eval()
    for count in (2, 9):
        with pytest.raises(LoraparError, match="does not keep samples separate") as raised:
            check_packing(model, samples(count), 0)
        assert "--packing" in raised.value.hint
    if dtype is torch.float32:
        assert relative_norm(scored(model, samples(), 30)[0], scored(model, samples(), 1)[0]) < 1e-5


def test_the_change_at_step_0_is_that_of_the_logits():
    model, chosen = adapted("llama", "gaussian", init_scale=0.05), samples(3)
    difference, largest = step0_difference(model, chosen, 0)
    changes, bases = [], []
    for sample in chosen:
        ids = torch.tensor([sample.input_ids])
        with torch.no_grad():
            adapted_logits = model(ids).logits[0, sample.prompt_length - 1 : -1]
            with model.disable_adapter():
                base = model(ids).logits[0, sample.prompt_length - 1 : -1]
        changes.append((adapted_logits - base).abs().max().item())
        bases.append(base.abs().max().item())
    assert difference == pytest.approx(max(changes), rel=1e-5)
    assert largest == pytest.approx(max(bases), rel=1e-5)
    assert difference > 1e-3
    assert step0_difference(adapted("llama"), chosen, 0)[0] < 1e-5
