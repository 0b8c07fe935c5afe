"""Batches: where samples lie in them, and which logits are computed."""

import pytest
import torch

from lorapar_cli.models.batches import (
    BatchLayout,
    decoder_start_token,
    make_batch,
    pad,
    prediction_logits,
    sample_losses,
)
from lorapar_cli.models.rendering.encoding import Encoded
from tests.scoring.architectures import adapted, build, samples

CPU = torch.device("cpu")


def test_only_predicted_positions_have_logits():
    model, chosen = adapted("llama"), samples()
    batch = make_batch(chosen, 0, CPU, BatchLayout())
    logits = prediction_logits(model, batch)
    assert logits.shape[0] == sum(sample.completion_length for sample in chosen)
    full = model(**batch.inputs).logits[batch.rows, batch.columns]
    torch.testing.assert_close(logits, full)


def chosen() -> list[Encoded]:
    """Three samples whose prompts and completions have lengths of their own."""
    return [Encoded([2, 3, 4, 5], 1), Encoded([6, 7], 1), Encoded([8, 9, 10, 11, 12], 3)]


@pytest.mark.parametrize("left", [False, True])
def test_padding(left):
    tokens, attended = pad([[5, 6, 7], [8], [9, 10]], 0, left=left)
    rows = [[5, 6, 7], [0, 0, 8], [0, 9, 10]] if left else [[5, 6, 7], [8, 0, 0], [9, 10, 0]]
    assert tokens.tolist() == rows
    assert attended.tolist() == [[int(token != 0) for token in row] for row in rows]
    assert tokens.dtype == attended.dtype == torch.int64


def test_a_token_that_is_also_padding_is_attended_to():
    tokens, attended = pad([[0, 1], [0]], 0, left=True)
    assert tokens.tolist() == [[0, 1], [0, 0]]
    assert attended.tolist() == [[1, 1], [0, 1]]


def predicted(batch):
    """Returns the token of the input after each position whose logits predict one."""
    return batch.inputs["input_ids"][batch.rows, batch.columns + 1].tolist()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("packing", [False, True])
def test_each_prediction_stands_before_its_target(side, packing):
    batch = make_batch(chosen(), 0, CPU, BatchLayout(packing), side)
    assert predicted(batch) == batch.targets.tolist() == [3, 4, 5, 7, 11, 12]
    assert batch.owners.tolist() == [0, 0, 0, 1, 2, 2]
    assert batch.weights.tolist() == pytest.approx([1 / 3] * 3 + [1] + [1 / 2] * 2)
    assert (batch.size, batch.lengths, batch.packed) == (3, [4, 2, 5], packing)


def test_positions_count_from_each_samples_first_token():
    packed = make_batch(chosen(), 0, CPU, BatchLayout(packing=True))
    assert packed.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 4]]
    assert "attention_mask" not in packed.inputs
    left = make_batch(chosen(), 0, CPU, BatchLayout(), "left")
    assert left.inputs["position_ids"].tolist()[1] == [0, 0, 0, 0, 1]
    right = make_batch(chosen(), 0, CPU, BatchLayout(), "right")
    assert "position_ids" not in right.inputs


def test_an_encoder_decoder_encodes_the_prompt_and_decodes_the_completion():
    batch = make_batch(chosen(), 0, CPU, BatchLayout(decoder_start_token=50))
    assert batch.inputs["input_ids"].tolist() == [[2, 0, 0], [6, 0, 0], [8, 9, 10]]
    assert batch.inputs["decoder_input_ids"].tolist() == [[50, 3, 4], [50, 0, 0], [50, 11, 0]]
    assert batch.columns.tolist() == [0, 1, 2, 0, 0, 1]
    assert batch.targets.tolist() == [3, 4, 5, 7, 11, 12]


def test_tokens_of_a_batch_include_its_padding():
    assert BatchLayout().tokens(chosen()) == 3 * 5
    assert BatchLayout(packing=True).tokens(chosen()) == 4 + 2 + 5
    assert BatchLayout(decoder_start_token=0).tokens(chosen()) == 3 * (3 + 3)


def test_division_keeps_the_order_and_the_limit():
    samples = chosen()
    assert BatchLayout().divide(samples, [2, 0, 1], 10) == [[2, 0], [1]]
    assert BatchLayout().divide(samples, [0, 1, 2], 4) == [[0], [1], [2]]
    assert BatchLayout(packing=True).divide(samples, [0, 1, 2], 6) == [[0, 1], [2]]
    assert BatchLayout().divide(samples, [], 4) == []


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("packing", [False, True])
def test_losses_are_each_samples_mean(side, packing):
    model = adapted("llama")
    found = sample_losses(model, make_batch(chosen(), 0, CPU, BatchLayout(packing), side))
    for loss, sample in zip(found, chosen(), strict=True):
        logits = model(input_ids=torch.tensor([sample.input_ids])).logits[0]
        expected = torch.nn.functional.cross_entropy(
            logits[sample.prompt_length - 1 : -1],
            torch.tensor(sample.input_ids[sample.prompt_length :]),
        )
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)


def test_decoder_start_token_belongs_to_encoder_decoders():
    assert decoder_start_token(adapted("llama")) is None
    assert decoder_start_token(build("t5")) == build("t5").config.decoder_start_token_id
