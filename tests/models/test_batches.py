"""Batches: where samples lie in them, and which logits are computed."""

import torch

from lorapar_cli.models.batches import BatchLayout, make_batch, prediction_logits
from tests.scoring.architectures import adapted, samples

CPU = torch.device("cpu")


def test_only_predicted_positions_have_logits():
    model, chosen = adapted("llama"), samples()
    batch = make_batch(chosen, 0, CPU, BatchLayout())
    logits = prediction_logits(model, batch)
    assert logits.shape[0] == sum(sample.completion_length for sample in chosen)
    full = model(**batch.inputs).logits[batch.rows, batch.columns]
    torch.testing.assert_close(logits, full)
