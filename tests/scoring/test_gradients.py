"""Per-sample gradients and importance against one sample at a time in float64."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers

from lorapar_cli.elements.importance import GradientSums, compute_importance
from lorapar_cli.elements.top_sets import Ranking, TopSetMask, importance_keys
from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import adapter_parameters, create_adapter
from lorapar_cli.models.batches import (
    BatchLayout,
    decoder_start_token,
    make_batch,
    prediction_logits,
    sample_losses,
)
from lorapar_cli.scoring.accumulate import GradientPass, make_batches, sum_gradients
from lorapar_cli.scoring.gradients import capture_gradients, scored_values
from lorapar_cli.scoring.logit_checks import check_packing
from tests.scoring.architectures import FAMILIES, adapted, build, samples

CPU = torch.device("cpu")


def one_by_one(model, chosen) -> dict[str, torch.Tensor]:
    """The definition, in float64: each sample alone, unpadded, its gradient by autograd."""
    model = copy.deepcopy(model).double()
    # Grouped matrix products of experts know no float64; the plain loop over experts does.
    model.get_base_model().config._experts_implementation = "eager"
    parameters = adapter_parameters(model)
    mean = {name: torch.zeros_like(p) for name, p in parameters.items()}
    square = {name: torch.zeros_like(p) for name, p in parameters.items()}
    start = decoder_start_token(model)
    for sample in chosen:
        prompt, completion = (
            sample.input_ids[: sample.prompt_length],
            torch.tensor(sample.input_ids[sample.prompt_length :]),
        )
        if start is None:
            logits = model(input_ids=torch.tensor([sample.input_ids])).logits[
                0, len(prompt) - 1 : -1
            ]
        else:
            logits = model(input_ids=torch.tensor([prompt]), labels=completion[None]).logits[0]
        loss = torch.nn.functional.cross_entropy(logits, completion)
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        for name, gradient in zip(parameters, gradients, strict=True):
            mean[name] += gradient / len(chosen)
            square[name] += gradient**2 / len(chosen)
    return {
        name: (mean[name] * p - square[name] * p * p / 2).abs().detach()
        for name, p in parameters.items()
    }


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


def scored(
    model, chosen, batch_tokens: int, raw_rank=None, packing=False
) -> tuple[dict, GradientPass, int]:
    values = scored_values(model, raw_rank)
    sums = GradientSums({name: value.numel() for name, value in values.items()})
    halves = [index % 2 for index in range(len(chosen))]
    scoring = GradientPass(chosen, halves, sums, batch_tokens, packing)
    shortages = sum_gradients(
        model,
        scoring,
        mine=lambda batches: batches,
        pad_token_id=0,
        raw_rank=raw_rank,
        after_batch=lambda: None,
    )
    return compute_importance(values, sums, "taylor2"), scoring, shortages


def relative_norm(found: dict, expected: dict) -> float:
    assert found.keys() == expected.keys()
    difference = sum(((found[n].double() - expected[n]) ** 2).sum() for n in expected)
    return (difference / sum((value**2).sum() for value in expected.values())).sqrt().item()


def top_set(importance: dict) -> np.ndarray:
    def keys():
        return (importance_keys(importance[n].float().numpy()) for n in sorted(importance))

    picker = TopSetMask(Ranking(keys).by_share([0.9])[0])
    return np.concatenate([picker.pick(vector) for vector in keys()])


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


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["mistral", "gemma3", "gpt2"])
def test_packed_samples_are_apart_under_every_attention(family, attention):
    model, chosen = adapted(family), samples()
    expected, _, _ = scored(model, chosen, 1)
    model.get_base_model().set_attn_implementation(attention)
    found, _, _ = scored(model, chosen, 10_000, packing=True)
    assert relative_norm(found, expected) < 2e-6


def test_packed_rows_are_within_the_tokens_allowed():
    chosen = samples(30)
    batches = make_batches(chosen, 40, BatchLayout(packing=True))
    assert sorted(index for batch in batches for index in batch) == list(range(30))
    sizes = [sum(len(chosen[i].input_ids) for i in batch) for batch in batches]
    assert max(sizes) <= 40
    # A row ends only where the next sample would not have fitted.
    following = [len(chosen[batch[0]].input_ids) for batch in batches[1:]]
    assert all(size + more > 40 for size, more in zip(sizes, following, strict=False))
    batch = make_batch([chosen[i] for i in batches[0]], 0, CPU, BatchLayout(packing=True))
    assert batch.inputs.keys() == {"input_ids", "position_ids"}
    assert batch.inputs["input_ids"].shape == (1, sizes[0])


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


@pytest.mark.parametrize("packing", [False, True])
def test_running_out_of_memory_halves_the_batch_and_changes_no_number(monkeypatch, packing):
    model, chosen = adapted("llama"), samples()
    expected, _, none = scored(model, chosen, 10_000, packing=packing)
    assert none == 0
    add, calls = GradientSums.add, SimpleNamespace(count=0)

    def short_of_memory(sums, name, gradients, membership):
        calls.count += 1
        # In the middle of the first backward pass, when some matrices have been added.
        if calls.count == 5:
            raise torch.OutOfMemoryError("out of memory")
        add(sums, name, gradients, membership)

    monkeypatch.setattr(GradientSums, "add", short_of_memory)
    found, scoring, shortages = scored(model, chosen, 10_000, packing=packing)
    assert shortages == 1
    assert scoring.sums.samples == len(chosen)
    assert relative_norm(found, expected) < 1e-6


def test_one_sample_that_does_not_fit_is_an_error(monkeypatch):
    def fail(*_arguments):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("lorapar_cli.scoring.accumulate.sample_losses", fail)
    with pytest.raises(LoraparError, match="out of memory on a single sample"):
        scored(adapted("llama"), samples(2), 10_000)


def test_other_errors_are_not_taken_for_a_shortage(monkeypatch):
    def fail(*_arguments):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("lorapar_cli.scoring.accumulate.sample_losses", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        scored(adapted("llama"), samples(2), 10_000)


def test_a_matrix_used_twice_or_not_at_all():
    model, chosen = adapted("llama"), samples(4)
    layers = model.get_base_model().model.layers
    layers[1].mlp = layers[0].mlp
    expected = one_by_one(model, chosen)
    found, _, _ = scored(model, chosen, 10_000)
    assert relative_norm({n: v for n, v in found.items() if n in expected}, expected) < 1e-5


def test_batches_of_an_encoder_decoder_are_bounded_by_both_stacks():
    chosen = samples(30)
    batches = make_batches(chosen, 40, BatchLayout(decoder_start_token=0))
    assert sorted(index for batch in batches for index in batch) == list(range(30))
    for indices in batches:
        batch = make_batch([chosen[i] for i in indices], 0, CPU, BatchLayout(decoder_start_token=0))
        padded = batch.inputs["input_ids"].numel() + batch.inputs["decoder_input_ids"].numel()
        assert padded <= 40
    assert any(len(batch) > 1 for batch in batches)


def test_batches_are_sorted_by_length_and_bounded():
    chosen = samples(30)
    batches = make_batches(chosen, 40, BatchLayout())
    assert sorted(index for batch in batches for index in batch) == list(range(30))
    lengths = [[len(chosen[i].input_ids) for i in batch] for batch in batches]
    assert all(max(batch) * len(batch) <= 40 for batch in lengths)
    assert [n for batch in lengths for n in batch] == sorted(
        (n for b in lengths for n in b), reverse=True
    )


def test_trainable_parameters_are_trainable_again_afterwards():
    model = adapted("llama")
    before = {n: p.requires_grad for n, p in model.named_parameters()}
    batched(model, samples(2), 2, "right")
    assert before == {n: p.requires_grad for n, p in model.named_parameters()}
    assert all(p.grad is None for p in model.parameters())
