"""Adapters: created on targets that exist, saved and loaded as plain PEFT folders."""

import pytest
import transformers

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import create_adapter
from tests.scoring.architectures import build


def test_a_target_that_matches_nothing_lists_what_there_is():
    with pytest.raises(LoraparError, match="c_attn") as raised:
        create_adapter(
            build("llama"), r=4, lora_alpha=8, target_modules=["c_attn"], init="orthogonal", seed=0
        )
    assert "q_proj" in raised.value.found


@pytest.mark.parametrize("targets", [["gate_proj"], ["gate_proj", "up_proj"], ["w1"]])
@pytest.mark.parametrize("dense", [[], [0]])
def test_targets_in_stacked_experts_are_refused_with_the_reason(targets, dense):
    # Where a dense layer has a `gate_proj` too, PEFT would take the name for the experts.
    config = transformers.Qwen3MoeConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_experts=4,
        num_experts_per_tok=2,
        head_dim=8,
        mlp_only_layers=dense,
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(LoraparError) as raised:
        create_adapter(
            model,
            r=4,
            lora_alpha=8,
            target_modules=["q_proj", *targets],
            init="orthogonal",
            seed=0,
        )
    assert "experts are 3-D tensors" in raised.value.found
    assert targets[0] in raised.value.what + raised.value.found
