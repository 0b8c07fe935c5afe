"""Whether a model keeps the samples of a packed row apart, by its logits."""

import torch
from peft import PeftModel

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.batches import BatchLayout, make_batch, prediction_logits
from lorapar_cli.models.rendering.encoding import Encoded

# Relative norms of the differences that rounding alone makes: between logits of packed and of
# separate samples, and between samples packed next to different neighbours, which are multiplied
# by exact zeros.
_PACKED_ROUNDING = 1e-4
_PACKED_ROUNDING_HALF = 3e-2
_NEIGHBOURS_ROUNDING = 1e-5


@torch.no_grad()
def check_packing(model: PeftModel, samples: list[Encoded], pad_token_id: int) -> None:
    """Refuses packing where a sample's logits depend on its neighbours in the row.

    The longest sample is packed between the two shortest: their logits must equal those of each
    sample alone, and the last one's must not change with the contents of the others. The second
    check finds what the rounding of half precision would hide from the first.

    Raises:
        LoraparError: The model mixes samples of one row.
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
        among_others = logits(others, packing=True)[-last:]
    except TypeError as cause:  # The model takes no positions.
        raise _mixes_samples(str(cause)) from cause
    difference = _relative(packed, alone)
    if not difference <= rounding:
        raise _mixes_samples(f"logits of samples packed together differ by {difference:.1e}")
    difference = _relative(among_others, packed[-last:])
    if not difference <= (rounding if eight_bit else _NEIGHBOURS_ROUNDING):
        raise _mixes_samples(f"logits of a sample differ by {difference:.1e} next to other samples")


def _relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def _mixes_samples(found: str) -> LoraparError:
    return LoraparError(
        "this model does not keep samples separate that are packed into one row",
        found,
        "omit `--packing`: batches of padded rows are correct for every model",
    )
