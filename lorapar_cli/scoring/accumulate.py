"""The pass over one system's samples that sums their gradients."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from peft import PeftModel

from lorapar_cli.elements.importance import GradientSums
from lorapar_cli.errors import LoraparError
from lorapar_cli.models.batches import (
    BatchLayout,
    decoder_start_token,
    make_batch,
    sample_losses,
)
from lorapar_cli.models.tokenization import Encoded
from lorapar_cli.scoring.gradients import GradientCapture, capture_gradients, routes_tokens

_GPU_TOKENS = 4096
_FLOAT16_SCALE = 1024.0


@dataclass
class GradientPass:
    """What is summed for one system.

    Attributes:
        samples: All of the system's samples, the same in every process.
        halves: Sample -> the half it belongs to, 0 or 1.
        sums: This process's sums.
        done: Indices of the samples that are in `sums`.
        batch_tokens: Tokens of a batch at most, padding included; 0 for a default.
        packing: Whether a batch is one row without padding; `logit_checks.check_packing` tells where it may be.
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
    mine: Callable[[list[list[int]]], list[list[int]]],
    pad_token_id: int,
    raw_rank: int | None,
    after_batch: Callable[[], None],
) -> int:
    """Adds the gradients of the samples that are not done yet.

    Where memory runs out, a batch is halved and the following ones are made no larger.

    Args:
        mine: Picks this process's batches out of all.
        after_batch: Called when `scoring` is consistent, after each batch.

    Returns:
        How often memory ran out.

    Raises:
        LoraparError: One sample alone does not fit into memory.
    """
    layout = BatchLayout(scoring.packing, decoder_start_token(model))
    batches = mine(make_batches(scoring.samples, _token_limit(model, scoring), layout))
    left = [[i for i in batch if i not in scoring.done] for batch in batches]
    queue = deque(_Pending(batch) for batch in left if batch)
    shortages = 0
    attempt = _Attempt(model, scoring, pad_token_id, layout)
    with capture_gradients(model, attempt.consume, raw_rank) as capture:
        while queue:
            work = queue.popleft()
            try:
                attempt.run(capture, work)
            except RuntimeError as cause:
                if not _is_shortage(cause):
                    raise
                shortages += 1
                queue = _halve(work, attempt.added, queue, scoring.samples, layout)
                torch.cuda.empty_cache()
                continue
            after_batch()
    return shortages


class _Attempt:
    """One batch's forward and backward pass, which may fail half-way."""

    def __init__(
        self, model: PeftModel, scoring: GradientPass, pad_token_id: int, layout: BatchLayout
    ) -> None:
        self._model = model
        self._scoring = scoring
        self._pad = pad_token_id
        self._device = scoring.sums.flat.device
        self._layout = layout
        # Gradients in float16 below 6e-5 lose digits: they are computed a power of two larger.
        half = any(p.dtype is torch.float16 for p in model.parameters())
        self._scale = _FLOAT16_SCALE if half else 1.0
        self.added: set[str] = set()
        self._membership = torch.empty(0)

    def consume(self, name: str, gradients: torch.Tensor) -> None:
        if name not in self.added:
            if self._scale != 1:
                gradients /= self._scale
            self._scoring.sums.add(name, gradients, self._membership)
            self.added.add(name)

    def run(self, capture: GradientCapture, work: _Pending) -> None:
        scoring = self._scoring
        self.added = set(work.added)
        halves = torch.tensor([scoring.halves[i] for i in work.indices], device=self._device)
        self._membership = torch.stack([halves == 0, halves == 1]).float()
        batch = make_batch(
            [scoring.samples[i] for i in work.indices],
            self._pad,
            self._device,
            self._layout,
        )
        capture.begin(batch)
        losses = sample_losses(self._model, batch)
        (losses.sum() * self._scale).backward()
        capture.finish()
        scoring.sums.add_losses(losses, self._membership)
        scoring.done.update(work.indices)


def _token_limit(model: PeftModel, scoring: GradientPass) -> int:
    longest = max(len(sample.input_ids) for sample in scoring.samples)
    if routes_tokens(model):
        return 0
    if scoring.batch_tokens:
        return scoring.batch_tokens
    return max(longest, _GPU_TOKENS) if scoring.sums.flat.is_cuda else longest


def make_batches(samples: list[Encoded], batch_tokens: int, layout: BatchLayout) -> list[list[int]]:
    """Returns batches of sample indices, longest first, each within the tokens allowed.

    A sample that is longer than allowed is a batch of its own.
    """
    order = sorted(range(len(samples)), key=lambda i: (-len(samples[i].input_ids), i))
    return layout.divide(samples, order, batch_tokens)


def _is_shortage(cause: Exception) -> bool:
    return isinstance(cause, torch.OutOfMemoryError) or "can't allocate memory" in str(cause)


def _halve(
    work: _Pending, added: set[str], queue: deque, samples: list[Encoded], layout: BatchLayout
) -> deque:
    """Returns the queue with the failed batch in two parts and no larger batch behind them."""
    size = len(work.indices)
    if size == 1:
        length = len(samples[work.indices[0]].input_ids)
        raise LoraparError(
            "memory does not suffice for one sample alone",
            f"{length} tokens",
            "leave long records out with `--max-length`, or take a smaller `--dtype` or "
            "`--quantize 4bit`",
        )
    parts = [work.indices[: size // 2], work.indices[size // 2 :]]
    limit = max(layout.tokens([samples[i] for i in part]) for part in parts)
    again = deque(_Pending(part, frozenset(added)) for part in parts)
    for later in queue:
        again.extend(
            _Pending(part, later.added) for part in layout.divide(samples, later.indices, limit)
        )
    return again
