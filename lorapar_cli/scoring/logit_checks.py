"""Comparison of logits before samples are scored."""

import torch
from peft import PeftModel

from lorapar_cli.models.batches import (
    BatchLayout,
    decoder_start_token,
    make_batch,
    prediction_logits,
)
from lorapar_cli.models.rendering.encoding import Encoded


@torch.no_grad()
def step0_difference(
    model: PeftModel, samples: list[Encoded], pad_token_id: int
) -> tuple[float, float]:
    """Returns the largest change of a logit by the adapter, and the base's largest logit."""
    device = next(model.parameters()).device
    layout = BatchLayout(decoder_start_token=decoder_start_token(model))
    differences, largest = [], []
    for sample in samples:
        batch = make_batch([sample], pad_token_id, device, layout)
        with model.disable_adapter():
            base = prediction_logits(model, batch).float()
        differences.append((prediction_logits(model, batch).float() - base).abs().max().item())
        largest.append(base.abs().max().item())
    return max(differences), max(largest)
