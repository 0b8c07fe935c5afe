"""Comparisons of logits before samples are scored."""

import torch
from peft import PeftModel

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.batches import (
    BatchLayout,
    decoder_start_token,
    make_batch,
    prediction_logits,
)
from lorapar_cli.models.tokenization import Encoded

# Relative norms that rounding alone makes between logits of packed and of separate samples, and of
# samples packed beside different neighbours, which are multiplied by exact zeros.
_PACKED_ROUNDING = 1e-4
_PACKED_ROUNDING_HALF = 3e-2
_NEIGHBOURS_ROUNDING = 1e-5


@torch.no_grad()
def check_packing(model: PeftModel, samples: list[Encoded], pad_token_id: int) -> None:
    """Refuses packing where a sample's logits depend on its neighbours in the row.

    The longest sample is packed between the two shortest: their logits must be those of each alone,
    and the last one's must stay when the others read otherwise. The second tells what the rounding
    of half precision would hide from the first.

    Raises:
        LoraparError: The model does not keep them apart.
    """
    order = sorted(range(len(samples)), key=lambda i: len(samples[i].input_ids))
    chosen = [samples[i] for i in dict.fromkeys((order[0], order[-1], order[1]))]
    others = [Encoded(s.input_ids[::-1], s.prompt_length) for s in chosen[:-1]] + chosen[-1:]
    device = next(model.parameters()).device
    last = chosen[-1].completion_length

    def logits(parts: list[Encoded], packing: bool) -> torch.Tensor:
        batch = make_batch(parts, pad_token_id, device, BatchLayout(packing))
        return prediction_logits(model, batch).float()

    half = any(p.dtype in (torch.float16, torch.bfloat16) for p in model.parameters())
    rounding = _PACKED_ROUNDING_HALF if half else _PACKED_ROUNDING
    # 8-bit products choose some columns by all tokens of a batch, packed or not.
    eight_bit = getattr(model.get_base_model(), "is_loaded_in_8bit", False)
    alone = torch.cat([logits([sample], packing=False) for sample in chosen])
    try:
        packed = logits(chosen, packing=True)
        beside = logits(others, packing=True)[-last:]
    except TypeError as cause:  # It takes no positions.
        raise _not_apart(str(cause)) from cause
    difference = _relative(packed, alone)
    if not difference <= rounding:
        raise _not_apart(f"logits of samples packed together differ by {difference:.1e}")
    difference = _relative(beside, packed[-last:])
    if not difference <= (rounding if eight_bit else _NEIGHBOURS_ROUNDING):
        raise _not_apart(f"logits of a sample differ by {difference:.1e} beside other samples")


def _relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def _not_apart(found: str) -> LoraparError:
    return LoraparError(
        "this model does not keep samples apart that are packed into one row",
        found,
        "leave `--packing` out: batches of padded rows are right for every model",
    )


@torch.no_grad()
def step0_difference(
    model: PeftModel, samples: list[Encoded], pad_token_id: int
) -> tuple[float, float]:
    """Returns the largest change of a logit that the adapter makes, and the largest logit."""
    device = next(model.parameters()).device
    differences, largest = [], []
    for sample in samples:
        batch = make_batch(
            [sample],
            pad_token_id,
            device,
            BatchLayout(decoder_start_token=decoder_start_token(model)),
        )
        with model.disable_adapter():
            base = prediction_logits(model, batch).float()
        differences.append((prediction_logits(model, batch).float() - base).abs().max().item())
        largest.append(base.abs().max().item())
    return max(differences), max(largest)
