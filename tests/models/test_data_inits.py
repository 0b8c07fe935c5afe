"""Inits that need data, against PEFT's own implementations run by hand."""

import pytest
import torch

from lorapar_cli.elements.rank_doubling import trained_half
from lorapar_cli.errors import LoraparError
from lorapar_cli.models import data_inits
from lorapar_cli.models.adapter import adapter_parameters, create_adapter
from lorapar_cli.models.data_inits import InitData
from tests.scoring.architectures import FAMILIES, adapted, build, samples


def trained_values(model) -> dict[str, torch.Tensor]:
    """Returns the raw half of a rank-2r adapter by name."""
    return {name: trained_half(name, p, 4) for name, p in adapter_parameters(model).items()}


def test_corda_starts_from_peft_s_own_values():
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora.config import CordaConfig
    from peft.tuners.lora.corda import preprocess_corda

    own = trained_values(adapted("gpt2", "corda"))
    base = build("gpt2")
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=list(FAMILIES["gpt2"][2]),
        init_lora_weights="corda",
        corda_config=CordaConfig(),
        fan_in_fan_out=True,
    )
    preprocess_corda(
        base, config, lambda: [base(torch.tensor([sample.input_ids])) for sample in samples()]
    )
    for name, value in adapter_parameters(get_peft_model(base, config)).items():
        # PEFT's order of the last three of four directions of equal weight is by rounding.
        torch.testing.assert_close(own[name], value, rtol=1e-3, atol=1e-4)


def test_lora_ga_starts_from_peft_s_own_values():
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora.config import LoraGAConfig
    from peft.tuners.lora.loraga import preprocess_loraga

    own = trained_values(adapted("llama", "lora_ga"))
    base = build("llama")
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=list(FAMILIES["llama"][2]),
        init_lora_weights="lora_ga",
        lora_ga_config=LoraGAConfig(),
    )

    def step():
        for sample in samples():
            ids = torch.tensor([sample.input_ids])
            labels = ids.clone()
            labels[0, : sample.prompt_length] = -100
            base(ids, labels=labels).loss.backward()

    preprocess_loraga(base, config, step)
    for name, value in adapter_parameters(get_peft_model(base, config)).items():
        # The directions' signs are drawn.
        largest = value.abs().max()
        difference = (own[name].abs() - value.abs()).abs().max() / largest
        assert difference < 1e-2, name


@pytest.mark.parametrize("init", ["corda", "lora_ga", "eva"])
@pytest.mark.parametrize("family", ["qwen2_moe", "t5"])
def test_data_inits_leave_nothing_behind_in_the_base(family, init):
    if (family, init) == ("t5", "eva"):
        with pytest.raises(LoraparError, match="encoder-decoder"):
            adapted(family, init)
        return
    model = adapted(family, init)
    attributes = {name for module in model.modules() for name in vars(module)}
    assert not attributes & {"eigens", "_peft_loraga_grad", "covariance_matrix"}
    assert not any(module._forward_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())
    values = adapter_parameters(model)
    assert all(
        value.any() == (".lora_A" in name or init != "eva") for name, value in values.items()
    )


def test_eva_that_does_not_settle_is_an_error(monkeypatch):
    monkeypatch.setattr(data_inits, "_EVA_PASSES", 1)
    with pytest.raises(LoraparError, match="did not converge"):
        adapted("llama", "eva")


def test_eva_takes_the_directions_of_most_variance():
    """Against the SVD of all inputs of a matrix."""
    base, seen = build("llama"), []
    handle = base.model.layers[1].mlp.down_proj.register_forward_pre_hook(
        lambda _module, arguments: seen.append(arguments[0][0])
    )
    for sample in samples():
        base(torch.tensor([sample.input_ids]))
    handle.remove()
    inputs = torch.cat(seen)
    directions = torch.linalg.svd(inputs - inputs.mean(0)).Vh[:4]
    (found,) = (
        value
        for name, value in adapter_parameters(adapted("llama", "eva")).items()
        if "layers.1.mlp.down_proj.lora_A" in name
    )
    assert (torch.linalg.svdvals(found @ directions.T) > 0.9).all()


@pytest.mark.parametrize("init", ["corda", "lora_ga"])
def test_a_rank_beyond_the_matrices_is_an_error(init):
    with pytest.raises(LoraparError, match=f"init `{init}`"):
        create_adapter(
            build("llama"),
            r=40,
            lora_alpha=8,
            target_modules=["q_proj"],
            init=init,
            seed=0,
            data=InitData(samples(), 0),
        )
