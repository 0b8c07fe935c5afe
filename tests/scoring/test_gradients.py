"""Per-sample gradients and importance against one sample at a time in float64."""

import pytest
import torch

from lorapar_cli.elements.importance import GradientSums, compute_importance
from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import adapter_parameters
from lorapar_cli.models.batches import (
    BatchLayout,
    decoder_start_token,
    make_batch,
    prediction_logits,
    sample_losses,
)
from lorapar_cli.models.packing import check_packing
from lorapar_cli.scoring.gradients import capture_gradients
from tests.scoring.architectures import FAMILIES, adapted, build, samples
from tests.scoring.gradient_parts import one_by_one, relative_norm, scored, top_set

CPU = torch.device("cpu")


def batched(model, chosen, size: int, side: str) -> dict[str, torch.Tensor]:
    values = adapter_parameters(model)
    sums = GradientSums({name: value.numel() for name, value in values.items()})
    with capture_gradients(model) as capture:
        for begin in range(0, len(chosen), size):
            part = chosen[begin : begin + size]
            membership = torch.stack(
                [torch.arange(len(part)) % 2 == half for half in range(2)]
            ).float()
            batch = make_batch(
                part, 0, CPU, BatchLayout(decoder_start_token=decoder_start_token(model)), side
            )
            capture.begin(batch, lambda name, g, m=membership: sums.add(name, g, m))
            losses = sample_losses(model, batch)
            losses.sum().backward()
            capture.finish()
            sums.add_losses(losses, membership)
    return compute_importance(values, sums, "taylor2")


@pytest.mark.parametrize("family", FAMILIES)
def test_importance_equals_one_sample_at_a_time(family):
    model, chosen = adapted(family), samples()
    expected = one_by_one(model, chosen)
    assert all(value.any() for value in expected.values())
    for size, side in ((1, "right"), (4, "right"), (9, "right"), (4, "left"), (9, "left")):
        assert relative_norm(batched(model, chosen, size, side), expected) < 1e-5
    for batch_tokens in (1, 30, 10_000):
        found, _, _ = scored(model, chosen, batch_tokens)
        assert relative_norm(found, expected) < 1e-5
        assert (top_set(found) == top_set(expected)).all()
    if decoder_start_token(model) is None:
        check_packing(model, chosen, 0)
        for batch_tokens in (1, 30, 10_000):
            found, _, _ = scored(model, chosen, batch_tokens, packing=True)
            assert relative_norm(found, expected) < 1e-5
            assert (top_set(found) == top_set(expected)).all()


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora", "corda", "lora_ga"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
def test_base_changing_inits_leave_base_and_function_alone(family, init):
    weights = {name: w.clone() for name, w in build(family).state_dict().items()}
    model, chosen = adapted(family, init), samples()
    base = {n.replace(".base_layer", ""): w for n, w in model.get_base_model().state_dict().items()}
    assert all(torch.equal(base[name], weight) for name, weight in weights.items())
    batch = make_batch(chosen, 0, CPU, BatchLayout())
    with model.disable_adapter():
        before = prediction_logits(model, batch)
    torch.testing.assert_close(prediction_logits(model, batch), before, atol=1e-5, rtol=1e-5)
    expected = one_by_one(model, chosen)
    halves = {n: v[:4] if ".lora_A" in n else v[:, :4] for n, v in expected.items()}
    for packing in (False, True):
        found, _, _ = scored(model, chosen, 30, raw_rank=4, packing=packing)
        assert relative_norm(found, halves) < 1e-5


def test_a_matrix_used_twice_or_not_at_all():
    model, chosen = adapted("llama"), samples(4)
    layers = model.get_base_model().model.layers
    layers[1].mlp = layers[0].mlp
    expected = one_by_one(model, chosen)
    found, _, _ = scored(model, chosen, 10_000)
    assert relative_norm({n: v for n, v in found.items() if n in expected}, expected) < 1e-5


def test_trainable_parameters_are_trainable_again_afterwards():
    model = adapted("llama")
    before = {n: p.requires_grad for n, p in model.named_parameters()}
    batched(model, samples(2), 2, "right")
    assert before == {n: p.requires_grad for n, p in model.named_parameters()}
    assert all(p.grad is None for p in model.parameters())


def test_tokens_that_cannot_be_assigned_to_samples_are_refused():
    """A module that changes the number of tokens hides which sample each belongs to."""
    model, chosen = adapted("llama"), samples(2)
    attention = model.get_base_model().model.layers[0].self_attn.q_proj
    plain = attention.forward
    attention.forward = lambda inputs: plain(inputs.flatten(0, 1)[:-1].unsqueeze(0))
    batch = make_batch(chosen, 0, CPU, BatchLayout())
    with capture_gradients(model) as capture:
        capture.begin(batch, lambda name, gradients: None)
        inputs = torch.randn(len(chosen), max(batch.lengths), 32)
        with pytest.raises(LoraparError, match="cannot be distinguished in"):
            attention(inputs).sum().backward()
