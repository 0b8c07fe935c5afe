"""The importance of the adapter's elements for one system."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from lorapar_cli.elements.importance import (
    FORMULAS,
    HALVES,
    GradientSums,
    compute_importance,
    magnitude_importance,
    random_importance,
    signed_terms,
)
from lorapar_cli.elements.top_sets import importance_keys
from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Advance, Progress
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.lora_inits import zero_importance
from lorapar_cli.names import Formula, System
from lorapar_cli.scoring.accumulate import GradientPass, sum_gradients
from lorapar_cli.scoring.checkpoint import SavedSums
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.scored_model import ScoredModel
from lorapar_cli.scoring.split_half import HalfSet, half_set
from lorapar_cli.scoring.student import EncodedSystem

NOISE_THETA = 0.9
"""Where the halves' sets are cut."""


@dataclass(frozen=True)
class SystemSums:
    """The gradients' sums over one system's samples, of all processes.

    Attributes:
        seconds: Time that they took.
        notes: Sentences for the manifest.
    """

    sums: GradientSums
    seconds: float
    notes: list[str]


@dataclass(frozen=True)
class SystemScore:
    """The importance for one system.

    Attributes:
        importance: Name -> float32 importance in the matrix's shape, on the CPU.
        summed: What it was computed from; None for a formula without gradients.
        halves: Top sets by each half of the samples; empty for a formula without gradients.
    """

    importance: dict[str, torch.Tensor]
    summed: SystemSums | None
    halves: list[HalfSet]


def score_system(
    scored: ScoredModel,
    encoded: EncodedSystem,
    options: ScoreOptions,
    pad_token_id: int,
    processes: Processes,
    saved: SavedSums,
    progress: Progress,
) -> SystemScore:
    """Returns one system's importance, and the sets that its halves would select.

    Raises:
        UsageError: All importance is zero.
        LoraparError: Importance is not finite, or a single sample does not fit into memory.
    """
    values, system = scored.values, encoded.system
    if options.formula == "magnitude":
        return SystemScore(magnitude_importance(values), None, [])
    if options.formula == "random":
        return SystemScore(random_importance(values, options.seed, system), None, [])
    summed = _sum(scored, encoded, options, pad_token_id, processes, saved, progress)
    importance = compute_importance(values, summed.sums, options.formula)
    _require_finite(importance, system, options.dtype)
    if not any(tensor.any() for tensor in importance.values()):
        raise zero_importance(options.init, system)
    halves = [_half_set(values, summed.sums, options.formula, half) for half in range(HALVES)]
    return SystemScore(importance, summed, halves)


def _sum(
    scored: ScoredModel,
    encoded: EncodedSystem,
    options: ScoreOptions,
    pad_token_id: int,
    processes: Processes,
    saved: SavedSums,
    progress: Progress,
) -> SystemSums:
    """Returns the sums over all samples, resuming from saved ones."""
    started = time.monotonic()
    samples, system = encoded.samples, encoded.system
    device = next(iter(scored.values.values())).device
    sums = GradientSums({name: v.numel() for name, v in scored.values.items()}, device)
    halves = [index % 2 for index in range(len(samples))]
    random.Random(options.seed).shuffle(halves)
    scoring = GradientPass(samples, halves, sums, options.batch_tokens, options.packing)
    notes = []
    if found := saved.restore(scoring):
        notes.append(f"resumed from the sums of {found} {system} samples")
    if saved.damage is not None:
        notes.append(f"saved sums of {system} samples were damaged and not used: {saved.damage}")

    def after_batch() -> None:
        done = len(scoring.done) * processes.count
        progress(Advance(f"scoring {system}", min(done, len(samples)), len(samples)))
        saved.keep(scoring)

    shortages = sum_gradients(
        scored.model,
        scoring,
        mine=processes.share,
        pad_token_id=pad_token_id,
        raw_rank=scored.raw_rank,
        after_batch=after_batch,
    )
    saved.finish(scoring)
    processes.add_up(sums.flat)
    processes.add_up(sums.tally)
    if shortages:
        notes.append(
            f"memory ran out {shortages} times on {system} and batches were halved: a smaller "
            "`--batch-tokens` saves these attempts"
        )
    return SystemSums(sums, time.monotonic() - started, notes)


def _require_finite(importance: dict[str, torch.Tensor], system: System, dtype: str) -> None:
    for name, values in importance.items():
        if not values.isfinite().all():
            raise LoraparError(
                f"importance is not finite for {system}",
                f"in `{name}`, base model in {dtype}",
                "use a `--dtype` of larger range (`bfloat16`, `float32`), or check the base "
                "model's weights",
            )


def _half_set(
    values: dict[str, torch.Tensor], sums: GradientSums, formula: Formula, half: int
) -> HalfSet:
    """Returns the top set by one half of a system's samples."""
    importance = compute_importance(values, sums, formula, half)
    terms = None
    if FORMULAS[formula].needs_product:
        signed = signed_terms(values, sums, half)
        terms = [signed[name].numpy() for name in sorted(signed)]

    def keys() -> Iterator[np.ndarray]:
        return (importance_keys(importance[name].numpy()) for name in sorted(importance))

    return half_set(keys, NOISE_THETA, terms)
