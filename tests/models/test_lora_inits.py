"""Initial values of A and B, against PEFT's own and against what each init promises."""

import pytest
import torch

from lorapar_cli.elements.rank_doubling import trained_half
from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import adapter_parameters, create_adapter
from lorapar_cli.models.data_inits import InitData
from tests.scoring.architectures import FAMILIES, adapted, build


def trained_values(model) -> dict[str, torch.Tensor]:
    """Returns the raw half of a rank-2r adapter by name."""
    return {name: trained_half(name, p, 4) for name, p in adapter_parameters(model).items()}


def test_pissa_starts_from_peft_s_own_values():
    from peft import LoraConfig, get_peft_model

    own = trained_values(adapted("llama", "pissa"))
    peft = get_peft_model(
        build("llama"),
        LoraConfig(
            r=4, lora_alpha=8, target_modules=list(FAMILIES["llama"][2]), init_lora_weights="pissa"
        ),
    )
    for name, value in adapter_parameters(peft).items():
        torch.testing.assert_close(own[name], value)


def test_gaussian_with_a_scale_draws_both_matrices():
    values = adapter_parameters(adapted("llama", "gaussian", init_scale=0.01))
    drawn = torch.cat([value.flatten() for value in values.values()])
    assert drawn.std().item() == pytest.approx(0.01, rel=0.1)
    assert all(value.all() for value in values.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonal_leaves_the_function_alone_in_every_dtype(dtype):
    model = create_adapter(
        build("llama").to(dtype),
        r=4,
        lora_alpha=8,
        target_modules=list(FAMILIES["llama"][2]),
        init="orthogonal",
        seed=0,
    )
    values = adapter_parameters(model)
    for name, a in values.items():
        assert a.dtype == torch.float32
        assert a.all()
        if ".lora_A" in name:
            b = values[name.replace(".lora_A", ".lora_B")]
            assert (b @ a).abs().max() < 1e-6


def test_orthogonal_refuses_an_odd_rank():
    with pytest.raises(LoraparError, match="even rank"):
        create_adapter(
            build("llama"), r=3, lora_alpha=8, target_modules=["q_proj"], init="orthogonal", seed=0
        )


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_loftq_is_the_best_correction_of_its_rank(family):
    """Rounded weights stand for quantised ones: what PEFT dequantises is what they are."""
    whole, rounded = build(family), build(family)
    with torch.no_grad():
        for parameter in rounded.parameters():
            parameter.copy_((parameter * 20).round() / 20)
    model = adapted(family, "loftq", base=rounded, data=InitData([], 0, whole))
    corrected = 0
    for name, module in model.get_base_model().named_modules():
        if "default" not in getattr(module, "lora_A", {}):
            continue
        exact = whole.get_parameter(f"{name}.weight").double()
        lost = exact - module.get_base_layer().weight.double()
        spectrum = torch.linalg.svdvals(lost)
        left = lost - module.get_delta_weight("default").double()
        torch.testing.assert_close(left.norm(), spectrum[4:].norm(), rtol=1e-4, atol=1e-6)
        assert spectrum[:4].norm() > 0.1 * spectrum.norm()
        corrected += 1
    assert corrected >= 2
