"""`--rule movement`: how far a short training of all elements moves each of them.

The adapter is trained from its stored values by a few steps of Adam and then reset, bit for bit.
This is not the training of `train-sft` and `train-rl`: no mask, no warm-up, no weight decay, no
dropout, no clipping, one rate for both systems, batches of fixed size.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lorapar_cli.elements.rank_doubling import trained_half
from lorapar_cli.elements.rules import movement_importance
from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import adapter_parameters
from lorapar_cli.models.batches import (
    BatchLayout,
    decoder_start_token,
    least_sample,
    make_batch,
    sample_losses,
)
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.placement.sharding import in_step
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.plurals import counted
from lorapar_cli.scoring.accumulate import loss_scale, make_batches, token_limit
from lorapar_cli.scoring.scored_model import ScoredModel

SFT_BATCH = 16
"""Records of one SFT step."""


@dataclass(frozen=True)
class Part:
    """A part of a step that fits into memory.

    Attributes:
        samples: Prompts with completions.
        weights: Factor of each sample's mean loss; the step's loss is the sum over all its parts.
    """

    samples: list[Encoded]
    weights: list[float]


@dataclass(frozen=True)
class Training:
    """How one system's movement is measured.

    Attributes:
        steps: Number of optimizer steps.
        rate: Adam's learning rate, constant.
        batch_tokens: Maximum number of tokens per part; 0 for a default.
        packing: Whether a part is one row without padding.
    """

    steps: int
    rate: float
    batch_tokens: int
    packing: bool


def measure_movement(
    scored: ScoredModel,
    training: Training,
    parts_of: Callable[[int], list[Part]],
    *,
    pad_token_id: int,
    processes: Processes,
    after_step: Callable[[int], None],
) -> dict[str, torch.Tensor]:
    """Returns name -> `|phi|` moved, float32; the adapter ends as it began.

    Args:
        parts_of: From a step's number to this process's parts of it.
        after_step: Called with the number of steps done.

    Raises:
        LoraparError: A part does not fit into memory.
    """
    parameters = adapter_parameters(scored.model)
    start = {name: value.detach().clone() for name, value in parameters.items()}
    before = {name: value.detach().clone() for name, value in scored.values.items()}
    optimizer = torch.optim.Adam(parameters.values(), lr=training.rate)
    layout = BatchLayout(training.packing, decoder_start_token(scored.model))
    try:
        for step in range(training.steps):
            sums = _sum_gradients(scored, parts_of(step), layout, pad_token_id)
            processes.add_up(sums)
            _set_gradients(scored, parameters, sums)
            optimizer.step()
            after_step(step + 1)
        return movement_importance(before, scored.values)
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(start[name])
                parameter.grad = None


def _sum_gradients(
    scored: ScoredModel, parts: Sequence[Part], layout: BatchLayout, pad_token_id: int
) -> torch.Tensor:
    """Returns the sum of the parts' gradients, float64 `[elements of all matrices]`.

    float64, so that the number of processes among which parts are shared changes next to nothing.
    """
    parameters = list(adapter_parameters(scored.model).values())
    device, scale = parameters[0].device, loss_scale(scored.model)
    sums = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64, device=device)

    def add(part: Part) -> None:
        gradients = _gradients(scored, part, layout, pad_token_id, scale)
        flat = [
            (torch.zeros_like(p) if g is None else g).flatten().to(device)
            for p, g in zip(parameters, gradients, strict=True)
        ]
        sums.add_(torch.cat(flat).double() / scale)

    nothing = Part([least_sample(pad_token_id)], [0.0])
    with in_step(scored.model, lambda: _gradients(scored, nothing, layout, pad_token_id, scale)):
        for part in parts:
            add(part)
    return sums


def _gradients(
    scored: ScoredModel, part: Part, layout: BatchLayout, pad_token_id: int, scale: float
) -> tuple[torch.Tensor | None, ...]:
    """Returns the gradient of each matrix by one part, None where its loss does not depend on it.

    Raises:
        LoraparError: The part does not fit into memory.
    """
    parameters = list(adapter_parameters(scored.model).values())
    batch = make_batch(part.samples, pad_token_id, parameters[0].device, layout)
    weights = torch.tensor(part.weights, device=parameters[0].device)
    try:
        losses = sample_losses(scored.model, batch)
        return torch.autograd.grad((losses * weights).sum() * scale, parameters, allow_unused=True)
    except torch.OutOfMemoryError as cause:
        raise LoraparError(
            f"out of memory on {counted(len(part.samples), 'sample')}",
            f"the longest has {counted(max(len(s.input_ids) for s in part.samples), 'token')}",
            "give a smaller `--batch-tokens`",
        ) from cause


def _set_gradients(
    scored: ScoredModel, parameters: dict[str, torch.nn.Parameter], sums: torch.Tensor
) -> None:
    """Gives each matrix its gradient; the frozen half of a rank-2r adapter gets zeros."""
    start = 0
    for name, parameter in parameters.items():
        own = sums[start : start + parameter.numel()].reshape(parameter.shape).float()
        own = own.to(parameter.device)
        start += parameter.numel()
        if scored.raw_rank is not None:
            trained = torch.zeros_like(own)
            trained_half(name, trained, scored.raw_rank).copy_(
                trained_half(name, own, scored.raw_rank)
            )
            own = trained
        parameter.grad = own


def draw_steps(total: int, size: int, steps: int, seed: str) -> list[list[int]]:
    """Returns the indices of each step's items: shuffled passes over all, end to end."""
    draw = random.Random(seed)
    stream: list[int] = []
    while len(stream) < size * steps:
        order = list(range(total))
        draw.shuffle(order)
        stream += order
    return [stream[step * size : (step + 1) * size] for step in range(steps)]


def sft_parts(
    scored: ScoredModel,
    samples: list[Encoded],
    training: Training,
    processes: Processes,
    seed: str,
) -> Callable[[int], list[Part]]:
    """Returns the parts of SFT steps: the mean loss of `SFT_BATCH` records.

    The parts do not depend on the number of processes, which only share them.
    """
    steps = draw_steps(len(samples), SFT_BATCH, training.steps, seed)
    device = next(iter(scored.values.values())).device
    limit = token_limit(scored.model, samples, training.batch_tokens, device)
    layout = BatchLayout(training.packing, decoder_start_token(scored.model))

    def parts_of(step: int) -> list[Part]:
        chosen = [samples[index] for index in steps[step]]
        batches = processes.share(make_batches(chosen, limit, layout))
        return [
            Part([chosen[i] for i in batch], [1 / len(chosen)] * len(batch)) for batch in batches
        ]

    return parts_of
