"""Losses and divergences against a naive restatement."""

import math

import numpy as np
import pytest
import torch

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import adapter_parameters, create_adapter
from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer
from lorapar_cli.models.measuring.forgetting import (
    NEUTRAL_TEXT,
    kl_from_base,
    record_losses,
    text_loss,
    text_windows,
)
from lorapar_cli.models.rendering.encoding import Encoded

SAMPLES = [
    Encoded([5, 6, 7, 8], 2),
    Encoded([9, 10], 1),
    Encoded([11, 12, 13, 14, 15, 16, 17, 18, 19], 3),
]


@pytest.fixture(scope="module")
def base(tiny_model_dir):
    return find_base_model(str(tiny_model_dir))


@pytest.fixture
def adapted(base):
    model = create_adapter(
        load_base(base, "float32"),
        r=2,
        lora_alpha=4,
        target_modules=["q_proj", "down_proj"],
        init="gaussian",
        init_scale=2.0,
        seed=1,
    )
    return model.eval()


def distributions(model, sample):
    """Returns log-probabilities in float64 where a completion token is predicted."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([sample.input_ids])).logits[0].double().numpy()
    rows = logits[sample.prompt_length - 1 : -1]
    shifted = rows - rows.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def test_losses_are_means_over_the_completion(adapted):
    found = record_losses(adapted, SAMPLES, 0)
    for sample, loss in zip(SAMPLES, found, strict=True):
        rows = distributions(adapted, sample)
        targets = sample.input_ids[sample.prompt_length :]
        naive = -np.mean([row[token] for row, token in zip(rows, targets, strict=True)])
        assert loss == pytest.approx(naive, rel=1e-5)


def test_the_divergence_is_from_the_base_to_the_adapter(adapted):
    found = kl_from_base(adapted, SAMPLES, 0)
    for sample, value in zip(SAMPLES, found, strict=True):
        tuned = distributions(adapted, sample)
        with adapted.disable_adapter():
            base = distributions(adapted, sample)
        naive = (np.exp(base) * (base - tuned)).sum(-1).mean()
        other_way = (np.exp(tuned) * (tuned - base)).sum(-1).mean()
        assert value == pytest.approx(naive, rel=1e-3)
        assert value != pytest.approx(other_way, rel=1e-3)


def test_an_adapter_that_does_nothing_is_at_distance_zero(adapted):
    for name, parameter in adapter_parameters(adapted).items():
        if ".lora_B" in name:
            parameter.data.zero_()
    assert kl_from_base(adapted, SAMPLES, 0) == [0.0, 0.0, 0.0]


def test_a_text_is_read_in_windows_that_cover_it(base, tmp_path):
    tokenizer = load_tokenizer(base)
    path = tmp_path / "text.txt"
    path.write_text("abcdefghij")
    windows = text_windows(tokenizer, path, None, window=4)
    assert [len(each.input_ids) for each in windows] == [4, 4, 2]
    joined = [token for each in windows for token in each.input_ids]
    assert joined == tokenizer("abcdefghij")["input_ids"]
    assert [len(w.input_ids) for w in text_windows(tokenizer, path, 3)] == [3, 3, 3]
    path.write_text("a")
    with pytest.raises(LoraparError, match="too short"):
        text_windows(tokenizer, path, None)
    path.write_text(" \n" * 9)
    with pytest.raises(LoraparError, match="too short") as caught:
        text_windows(tokenizer, path, None)
    assert "blank" in caught.value.found


def test_the_loss_of_a_text_is_over_its_tokens(adapted):
    windows = [Encoded([5, 6, 7, 8, 9], 1), Encoded([10, 11], 1)]
    total = 0.0
    for each in windows:
        rows = distributions(adapted, each)
        total -= sum(row[token] for row, token in zip(rows, each.input_ids[1:], strict=True))
    assert text_loss(adapted, windows, 0) == pytest.approx(total / 5, rel=1e-5)


def test_the_shipped_text_is_prose_of_about_50_kb(base):
    text = NEUTRAL_TEXT.read_text(encoding="ascii")
    assert 40_000 < len(text) < 60_000
    assert text.startswith("CHAPTER I\n")
    assert "White Rabbit" in text
    assert "\n\n\n" not in text
    windows = text_windows(load_tokenizer(base), NEUTRAL_TEXT, base.max_length)
    assert sum(len(each.input_ids) for each in windows) == pytest.approx(len(text), rel=0.01)


def test_an_unseen_token_costs_what_a_uniform_model_would_pay(base):
    """A model whose output layer is zero knows nothing: every token costs log(vocabulary)."""
    model = load_base(base, "float32")
    model.get_output_embeddings().weight.data.zero_()
    vocabulary = model.get_output_embeddings().weight.shape[0]
    assert record_losses(model, SAMPLES, 0) == pytest.approx([math.log(vocabulary)] * 3, rel=1e-5)
