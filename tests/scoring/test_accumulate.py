"""The pass over samples: batches within their limit, and memory that runs out half-way."""

from types import SimpleNamespace

import pytest
import torch

from lorapar_cli.elements.importance import GradientSums
from lorapar_cli.errors import LoraparError
from lorapar_cli.models.batches import BatchLayout, make_batch
from lorapar_cli.scoring.accumulate import make_batches
from tests.scoring.architectures import adapted, samples
from tests.scoring.gradient_parts import relative_norm, scored

CPU = torch.device("cpu")


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
