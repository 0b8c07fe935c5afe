"""The importance of the adapter's elements for one system."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

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
from lorapar_cli.elements.rules import gallop_importance, migu_importance, snr_importance
from lorapar_cli.elements.top_sets import importance_keys
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import Advance, Progress
from lorapar_cli.models.base_weights import feature_magnitudes
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.lora_inits import zero_importance
from lorapar_cli.names import System
from lorapar_cli.plurals import counted
from lorapar_cli.scoring.accumulate import GradientPass, sum_gradients
from lorapar_cli.scoring.checkpoint import SavedSums
from lorapar_cli.scoring.movement import Part, Training, measure_movement, sft_parts
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.output_shares import OutputShares, sum_outputs
from lorapar_cli.scoring.policy_steps import PolicySteps
from lorapar_cli.scoring.scored_model import ScoredModel
from lorapar_cli.scoring.split_half import HalfSet, half_set
from lorapar_cli.scoring.student import EncodedSystem, Student

NOISE_THETA = 0.9
"""Where the halves' sets are cut."""


Measure = Callable[[GradientSums, int | None], dict[str, torch.Tensor]]
"""From sums, and a half of the samples or None for all, to name -> importance."""


@dataclass(frozen=True)
class SystemScore:
    """The importance for one system.

    Attributes:
        importance: Name -> float32 importance in the matrix's shape, on the CPU.
        halves: Top sets by each half of the samples; empty where gradients were not summed.
        loss: Mean loss of the samples, None where it was not computed.
        seconds: Time of the pass over the samples, None where there was none.
        notes: Sentences for the manifest.
    """

    importance: dict[str, torch.Tensor]
    halves: list[HalfSet] = field(default_factory=list)
    loss: float | None = None
    seconds: float | None = None
    notes: list[str] = field(default_factory=list)


def score_system(
    scored: ScoredModel,
    encoded: EncodedSystem,
    options: ScoreOptions,
    student: Student,
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
    if options.rule == "random" or options.formula == "random":
        return SystemScore(random_importance(values, options.seed, system))
    if options.formula == "magnitude":
        return SystemScore(magnitude_importance(values))
    started, pad_token_id = time.monotonic(), student.tokenizer.pad_token_id
    if options.rule == "movement":
        score = _score_movement(scored, encoded, options, student, processes, progress)
    elif options.rule == "migu":
        score = _score_outputs(scored, encoded, options, pad_token_id, processes, progress)
    else:
        score = _score_gradients(scored, encoded, options, pad_token_id, processes, saved, progress)
    return replace(score, seconds=time.monotonic() - started)


def _require_usable(
    importance: dict[str, torch.Tensor], options: ScoreOptions, system: System
) -> dict[str, torch.Tensor]:
    """Returns the importance, which is finite and not zero throughout."""
    _require_finite(importance, system, options.dtype)
    if any(tensor.any() for tensor in importance.values()):
        return importance
    if options.rule == "importance":
        raise zero_importance(options.init, system)
    raise UsageError(
        f"the importance of every element is zero for {system}",
        f"rule `{options.rule}` on init `{options.init}`",
        "use `--init orthogonal`, and check that the records have completions",
    )


def _score_movement(
    scored: ScoredModel,
    encoded: EncodedSystem,
    options: ScoreOptions,
    student: Student,
    processes: Processes,
    progress: Progress,
) -> SystemScore:
    """Returns the importance by `movement`, from a short training of its own for each system."""
    system, steps = encoded.system, options.movement_steps
    training = Training(steps, options.movement_rate, options.batch_tokens, options.packing)
    policy = None
    parts: Callable[[int], list[Part]]
    if system is System.SYSTEM2 and options.movement_s2 == "grpo":
        policy = PolicySteps(scored, student, encoded.records, training, processes, options.seed)
        parts = policy.parts
    else:
        parts = sft_parts(scored, encoded.samples, training, processes, f"{options.seed} {system}")
    importance = measure_movement(
        scored,
        training,
        parts,
        pad_token_id=student.tokenizer.pad_token_id,
        processes=processes,
        after_step=lambda done: progress(Advance(f"moving on {system}", done, steps)),
    )
    notes = [] if policy is None else [policy.total()]
    return SystemScore(_require_usable(importance, options, system), notes=notes)


def _score_outputs(
    scored: ScoredModel,
    encoded: EncodedSystem,
    options: ScoreOptions,
    pad_token_id: int,
    processes: Processes,
    progress: Progress,
) -> SystemScore:
    """Returns the importance by `migu`, from forward passes."""
    values, total = scored.values, len(encoded.samples)
    device = next(iter(values.values())).device
    rows = {name: phi.shape[0] for name, phi in values.items()}
    sums = OutputShares(rows, scored.raw_rank, device)
    done = 0

    def after_batch(size: int) -> None:
        nonlocal done
        done += size * processes.count
        progress(Advance(f"scoring {encoded.system}", min(done, total), total))

    sum_outputs(
        scored.model,
        encoded.samples,
        sums,
        batch_tokens=options.batch_tokens,
        packing=options.packing,
        processes=processes,
        pad_token_id=pad_token_id,
        after_batch=after_batch,
    )
    importance = migu_importance(values, sums.means())
    return SystemScore(_require_usable(importance, options, encoded.system))


def _score_gradients(
    scored: ScoredModel,
    encoded: EncodedSystem,
    options: ScoreOptions,
    pad_token_id: int,
    processes: Processes,
    saved: SavedSums,
    progress: Progress,
) -> SystemScore:
    """Returns the importance by a rule that is computed from sums of per-sample gradients."""
    measure = _find_measure(scored, options)
    sums, notes = _sum(scored, encoded, options, pad_token_id, processes, saved, progress)
    importance = _require_usable(measure(sums, None), options, encoded.system)
    signed = options.rule == "importance" and FORMULAS[options.formula].needs_product
    halves = [
        _half_set(measure(sums, half), signed_terms(scored.values, sums, half) if signed else None)
        for half in range(HALVES)
    ]
    return SystemScore(importance, halves, sums.mean_loss, None, notes)


def _find_measure(scored: ScoredModel, options: ScoreOptions) -> Measure:
    """Returns how the options compute importance from sums."""
    values = scored.values
    if options.rule == "snr":
        return lambda sums, half: snr_importance(values, sums, half)
    if options.rule == "gallop":
        magnitudes = feature_magnitudes(scored.model)
        return lambda sums, half: gallop_importance(values, sums, magnitudes, half)
    return lambda sums, half: compute_importance(values, sums, options.formula, half)


def _sum(
    scored: ScoredModel,
    encoded: EncodedSystem,
    options: ScoreOptions,
    pad_token_id: int,
    processes: Processes,
    saved: SavedSums,
    progress: Progress,
) -> tuple[GradientSums, list[str]]:
    """Returns the sums over all samples, resuming from saved ones, and notes on them."""
    samples, system = encoded.samples, encoded.system
    device = next(iter(scored.values.values())).device
    sums = GradientSums({name: v.numel() for name, v in scored.values.items()}, device)
    halves = [index % 2 for index in range(len(samples))]
    random.Random(options.seed).shuffle(halves)
    scoring = GradientPass(samples, halves, sums, options.batch_tokens, options.packing)
    notes = []
    if found := saved.restore(scoring):
        notes.append(f"resumed from the sums of {counted(found, f'{system} sample')}")
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
            f"memory ran out {counted(shortages, 'time')} on {system} and batches were halved: a smaller "
            "`--batch-tokens` saves these attempts"
        )
    return sums, notes


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
    importance: dict[str, torch.Tensor], signed: dict[str, torch.Tensor] | None
) -> HalfSet:
    """Returns the top set by one half of a system's samples.

    Args:
        importance: By that half.
        signed: Its gradient times value, None for a rule that does not use that product.
    """
    terms = None if signed is None else [signed[name].numpy() for name in sorted(signed)]

    def keys() -> Iterator[np.ndarray]:
        return (importance_keys(importance[name].numpy()) for name in sorted(importance))

    return half_set(keys, NOISE_THETA, terms)
