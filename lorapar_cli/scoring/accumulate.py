"""The pass over one system's samples that sums their gradients."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from peft import PeftModel

from lorapar_cli.elements.importance import GradientSums
from lorapar_cli.errors import LoraparError
from lorapar_cli.models.batches import (
    BatchLayout,
    decoder_start_token,
    least_sample,
    make_batch,
    sample_losses,
)
from lorapar_cli.models.placement.sharding import in_step, is_sharded
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.plurals import counted
from lorapar_cli.scoring.gradients import GradientCapture, capture_gradients, routes_tokens

_GPU_TOKENS = 4096
_FLOAT16_SCALE = 1024.0


@dataclass
class GradientPass:
    """The state of the pass over one system's samples.

    Attributes:
        samples: All of the system's samples, the same in every process.
        halves: Sample -> the half it belongs to, 0 or 1.
        sums: This process's sums.
        batch_tokens: Maximum number of tokens per batch, padding included; 0 for a default.
        packing: Whether a batch is one row without padding; `models.packing.check_packing` refuses
            models that mix the samples of a row.
        done: Indices of the samples that are in `sums`.
    """

    samples: list[Encoded]
    halves: list[int]
    sums: GradientSums
    batch_tokens: int
    packing: bool = False
    done: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class _Pending:
    """A batch to come: its samples, and the matrices that a failed attempt has already added."""

    indices: list[int]
    added: frozenset[str] = frozenset()


def sum_gradients(
    model: PeftModel,
    scoring: GradientPass,
    *,
    mine: Callable[[Sequence[list[int]]], Sequence[list[int]]],
    pad_token_id: int,
    raw_rank: int | None,
    after_batch: Callable[[], None],
) -> int:
    """Adds the gradients of the samples that are not done yet to the sums of `scoring`.

    Where memory runs out, the batch is halved and later batches are made no larger than its halves;
    not with a sharded base, whose other processes are in the middle of the same pass.

    Args:
        mine: Picks this process's batches among all.
        raw_rank: Of a rank-2r adapter, the rank of the raw part; None for a plain adapter.
        after_batch: Called after each batch, when `scoring` is consistent.

    Returns:
        How many times memory ran out.

    Raises:
        LoraparError: A single sample does not fit into memory; of a sharded base, any batch.
    """
    layout = BatchLayout(scoring.packing, decoder_start_token(model))
    limit = token_limit(model, scoring.samples, scoring.batch_tokens, scoring.sums.flat.device)
    batches = mine(make_batches(scoring.samples, limit, layout))
    remaining = [[i for i in batch if i not in scoring.done] for batch in batches]
    queue = deque(_Pending(batch) for batch in remaining if batch)
    scale = loss_scale(model)
    shortages = 0
    with (
        capture_gradients(model, raw_rank) as capture,
        in_step(model, lambda: _pass_idly(model, scoring, capture, layout, pad_token_id)),
    ):
        while queue:
            pending = queue.popleft()
            added = set(pending.added)
            try:
                _add_batch(
                    model,
                    scoring,
                    capture,
                    pending.indices,
                    added,
                    layout=layout,
                    pad_token_id=pad_token_id,
                    scale=scale,
                )
            except RuntimeError as cause:
                _require_second_try(model, pending, cause)
                shortages += 1
                queue = _halve(_Pending(pending.indices, frozenset(added)), queue, scoring, layout)
                torch.cuda.empty_cache()
                continue
            after_batch()
    return shortages


def loss_scale(model: PeftModel) -> float:
    """Returns the factor of losses: gradients in float16 lose digits below 6e-5."""
    half = any(parameter.dtype is torch.float16 for parameter in model.parameters())
    return _FLOAT16_SCALE if half else 1.0


def _add_batch(
    model: PeftModel,
    scoring: GradientPass,
    capture: GradientCapture,
    indices: list[int],
    added: set[str],
    *,
    layout: BatchLayout,
    pad_token_id: int,
    scale: float,
) -> None:
    """Adds one batch's gradients and losses to the sums, in one forward and backward pass.

    Args:
        indices: The batch's samples.
        added: Names of the matrices whose gradients of this batch are in the sums already; those
            that this call adds are put in, so that they are known where it fails half-way.
        scale: Factor of the losses in the backward pass.
    """
    device = scoring.sums.flat.device
    halves = torch.tensor([scoring.halves[i] for i in indices], device=device)
    membership = torch.stack([halves == 0, halves == 1]).float()

    def add(name: str, gradients: torch.Tensor) -> None:
        if name not in added:
            if scale != 1:
                gradients /= scale
            scoring.sums.add(name, gradients, membership)
            added.add(name)

    batch = make_batch([scoring.samples[i] for i in indices], pad_token_id, device, layout)
    capture.begin(batch, add)
    losses = sample_losses(model, batch)
    (losses.sum() * scale).backward()
    capture.finish()
    scoring.sums.add_losses(losses, membership)
    scoring.done.update(indices)


def _pass_idly(
    model: PeftModel,
    scoring: GradientPass,
    capture: GradientCapture,
    layout: BatchLayout,
    pad_token_id: int,
) -> None:
    """Runs the passes of one batch and adds nothing, for the sake of other processes."""
    sample, device = least_sample(pad_token_id), scoring.sums.flat.device
    batch = make_batch([sample], pad_token_id, device, layout)
    capture.begin(batch, lambda _name, _gradients: None)
    sample_losses(model, batch).sum().backward()
    capture.finish()


def token_limit(
    model: PeftModel, samples: list[Encoded], batch_tokens: int, device: torch.device
) -> int:
    """Returns the maximum number of tokens per batch, 0 for one sample per batch.

    Args:
        batch_tokens: As of `GradientPass`.
    """
    if routes_tokens(model):
        return 0
    if batch_tokens:
        return batch_tokens
    longest = max(len(sample.input_ids) for sample in samples)
    return max(longest, _GPU_TOKENS) if device.type == "cuda" else longest


def make_batches(samples: list[Encoded], batch_tokens: int, layout: BatchLayout) -> list[list[int]]:
    """Returns batches of sample indices, longest first, each of at most `batch_tokens` tokens.

    A sample that is longer is a batch of its own.
    """
    order = sorted(range(len(samples)), key=lambda i: (-len(samples[i].input_ids), i))
    return layout.divide(samples, order, batch_tokens)


def _require_second_try(model: PeftModel, failed: _Pending, cause: RuntimeError) -> None:
    """Returns where memory ran out and the batch can be repeated in parts.

    Raises:
        RuntimeError: `cause`, which is something else.
        LoraparError: Other processes share the base model.
    """
    if not isinstance(cause, torch.OutOfMemoryError) and "can't allocate memory" not in str(cause):
        raise cause
    if is_sharded(model):
        raise LoraparError(
            f"out of memory on a batch of {counted(len(failed.indices), 'sample')}",
            "other processes share the base model and cannot repeat the batch in parts",
            "give a smaller `--batch-tokens`, or more processes",
        ) from cause


def _halve(
    failed: _Pending, later: Iterable[_Pending], scoring: GradientPass, layout: BatchLayout
) -> deque[_Pending]:
    """Returns the queue with the failed batch in two parts and no larger batch after them.

    Raises:
        LoraparError: The failed batch is a single sample.
    """
    samples, size = scoring.samples, len(failed.indices)
    if size == 1:
        raise LoraparError(
            "out of memory on a single sample",
            counted(len(samples[failed.indices[0]].input_ids), "token"),
            "leave out long records with `--max-length`, or use a smaller `--dtype` or "
            "`--quantize 4bit`",
        )
    parts = [failed.indices[: size // 2], failed.indices[size // 2 :]]
    limit = max(layout.tokens([samples[i] for i in part]) for part in parts)
    queue = deque(_Pending(part, failed.added) for part in parts)
    for pending in later:
        queue.extend(
            _Pending(part, pending.added) for part in layout.divide(samples, pending.indices, limit)
        )
    return queue
