"""Per-sample gradients and importance against one sample at a time in float64."""

import copy
import random

import pytest
import torch

from lorapar_cli.core.importance import GradientSums, compute_importance
from lorapar_cli.hub.gradients import capture_gradients, make_batch, sample_losses
from lorapar_cli.hub.models import adapter_parameters, create_adapter
from lorapar_cli.hub.prompts import Encoded

VOCABULARY = 97
TARGETS = ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "down_proj"]


def samples(count: int = 9) -> list[Encoded]:
    draw = random.Random(0)
    return [
        Encoded(
            [draw.randrange(2, VOCABULARY) for _ in range(prompt + completion)],
            prompt,
        )
        for prompt, completion in ((draw.randint(1, 9), draw.randint(1, 12)) for _ in range(count))
    ]


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
    )
    return create_adapter(
        LlamaForCausalLM(config).eval(),
        r=4,
        lora_alpha=8,
        target_modules=TARGETS,
        init="orthogonal",
        seed=0,
    ).eval()


def one_by_one(model, chosen: list[Encoded]) -> dict[str, torch.Tensor]:
    """The definition, in float64: each sample alone, its gradient by autograd."""
    model = copy.deepcopy(model).double()
    parameters = adapter_parameters(model)
    mean = {name: torch.zeros_like(p) for name, p in parameters.items()}
    square = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for sample in chosen:
        ids = torch.tensor([sample.input_ids])
        logits = model(input_ids=ids).logits[0, sample.prompt_length - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, ids[0, sample.prompt_length :])
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        for name, gradient in zip(parameters, gradients, strict=True):
            mean[name] += gradient / len(chosen)
            square[name] += gradient**2 / len(chosen)
    return {
        name: (mean[name] * p - square[name] * p * p / 2).abs().detach()
        for name, p in parameters.items()
    }


def batched(model, chosen: list[Encoded], size: int, side: str) -> dict[str, torch.Tensor]:
    values = adapter_parameters(model)
    sums = GradientSums({name: value.numel() for name, value in values.items()})
    for start in range(0, len(chosen), size):
        part = chosen[start : start + size]
        membership = torch.zeros(2, len(part))
        membership[0, ::2] = 1
        membership[1, 1::2] = 1
        with capture_gradients(model, lambda name, g, m=membership: sums.add(name, g, m)):
            sample_losses(model, make_batch(part, 0, torch.device("cpu"), side)).sum().backward()
        sums.samples = [
            a + b for a, b in zip(sums.samples, membership.sum(1).tolist(), strict=True)
        ]
    return compute_importance(values, sums, "taylor2")


def relative_norm(found: dict, expected: dict) -> float:
    difference = sum(((found[n].double() - expected[n]) ** 2).sum() for n in expected)
    return (difference / sum((value**2).sum() for value in expected.values())).sqrt().item()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("size", [1, 4, 9])
def test_importance_equals_one_sample_at_a_time(size, side):
    model, chosen = llama(), samples()
    found, expected = batched(model, chosen, size, side), one_by_one(model, chosen)
    assert found.keys() == expected.keys()
    assert relative_norm(found, expected) < 1e-5


def test_trainable_parameters_are_trainable_again_afterwards():
    model = llama()
    before = {n: p.requires_grad for n, p in model.named_parameters()}
    batched(model, samples(2), 2, "right")
    assert before == {n: p.requires_grad for n, p in model.named_parameters()}
    assert all(p.grad is None for p in model.parameters())
