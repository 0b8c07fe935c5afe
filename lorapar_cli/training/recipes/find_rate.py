"""`--find-lr`: short trainings at several learning rates, each from the stage's own start.

Each trial is the stage in small: its trainer, optimizer, mask, batches and schedule, for
`--find-lr-steps` steps, on all records but some that are held out to measure it by. It loads the
starting adapter anew, so that nothing of it is left in the stage that follows.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NotRequired, TypedDict, TypeVar

import torch

from lorapar_cli.errors import Diverged, LearntNothing, LoraparError
from lorapar_cli.events import Advance, Event, Progress, silent
from lorapar_cli.models.base_model import free_memory, pick_device
from lorapar_cli.names import Artifact
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.training import RateSearch, RateTrial
from lorapar_cli.store.disk.regular_files import remove
from lorapar_cli.store.journal import Journal, digest_of
from lorapar_cli.store.records import write_jsonl
from lorapar_cli.store.resumable_folder import UNFINISHED_PREFIX, run_digest
from lorapar_cli.training.jobs import Preparation, TrainingRun, load_run
from lorapar_cli.training.options import TrainingOptions, deciding
from lorapar_cli.training.recipes import rate_search
from lorapar_cli.training.recipes.rate_search import Values

Item = TypeVar("Item")

HELD_OUT_SHARE = 0.25
"""Largest share of all items that trials are measured by."""
_FEWEST = 4
# The stage's own warm-up may be longer than a trial.
_WARMUP_SHARE = 0.1


@dataclass(frozen=True)
class Trials:
    """How a stage is trained in small and measured.

    Attributes:
        measure: What is measured: `loss`, lower is better, or `reward`, higher is.
        fit: Trains a loaded model with options, on what is not held out.
        values: Measures a model in evaluation mode, an item of what is held out after the other.
    """

    measure: str
    fit: Callable[[TrainingRun, Any], object]
    values: Callable[[torch.nn.Module], list[float]]


class _Trial(TypedDict):
    """A line of the journal; the one without a rung is of the model before training.

    Keys:
        idle: Whether no step had a gradient; values are then those before training.
    """

    rung: int | None
    values: list[float] | None
    seconds: float
    idle: NotRequired[bool]


def hold_out(items: Sequence[Item], most: int, seed: int) -> tuple[list[Item], list[Item]]:
    """Returns what trials are measured by, at most `most` items, and the rest.

    Raises:
        LoraparError: There are too few items to divide.
    """
    size = min(most, int(len(items) * HELD_OUT_SHARE))
    if size < _FEWEST:
        raise LoraparError(
            "there are too few records for `--find-lr`",
            f"{len(items)}, of which a quarter is held out to measure trials by",
            f"give {math.ceil(_FEWEST / HELD_OUT_SHARE)} records or more, or a `--learning-rate`",
        )
    chosen = set(random.Random(f"{seed} find-lr").sample(range(len(items)), size))
    held = [item for index, item in enumerate(items) if index in chosen]
    return held, [item for index, item in enumerate(items) if index not in chosen]


def find_rate(preparation: Preparation, options: TrainingOptions, trials: Trials) -> RateSearch:
    """Returns the learning rate that the search finds, with all that it tried.

    Trials that the journal has are not repeated. The curve is written to `learning-rates.jsonl`.

    Args:
        options: The stage's; their learning rate is where the search starts, and what it falls
            back to.

    Raises:
        LoraparError: The engine divides the model, or a trial failed otherwise than by diverging.
    """
    search = _Search(preparation, options, trials)
    while not search.is_idle and (rung := rate_search.next_rung(search.tried)) is not None:
        search.run(rung)
    found = search.conclude()
    if preparation.launch.processes.rank == 0:
        write_jsonl(preparation.work / Artifact.LEARNING_RATES, found["curve"])
    return found


class _Search:
    """A search with what it has tried so far."""

    def __init__(self, preparation: Preparation, options: TrainingOptions, trials: Trials) -> None:
        engine = preparation.launch.engine
        if engine.sharded:
            raise LoraparError(
                f"`--find-lr` cannot measure a model under {engine}",
                hint="give a `--learning-rate`, or launch plain data parallel with `torchrun`",
            )
        self._preparation, self._options, self._trials = preparation, options, trials
        self._sign = 1 if trials.measure == "loss" else -1
        manifest = preparation.job.manifest
        self._belongs_to = digest_of(
            {
                "run": run_digest(preparation.work, manifest, deciding, type(options)),
                "base_model": preparation.job.base.to_manifest(),
                "device": pick_device().type,
                "processes": preparation.launch.processes.count,
            }
        )
        self._journal: Journal | None = None
        self._lines: list[_Trial] = preparation.launch.processes.on_main(self._read)
        if not any(line["rung"] is None for line in self._lines):
            self.run(None)

    def _read(self) -> list[_Trial]:
        self._journal = Journal(self._preparation.work, "learning-rates", self._belongs_to)
        # A file that was put together by hand may hold a trial twice.
        return list({line["rung"]: line for line in self._journal.lines}.values())

    @property
    def tried(self) -> dict[int, Values]:
        """Rung -> values, lower is better; None where training diverged."""
        return {
            line["rung"]: self._signed(line["values"])
            for line in self._lines
            if line["rung"] is not None
        }

    @property
    def is_idle(self) -> bool:
        """Whether a trial had no gradient: before the first one, all rates are the same training."""
        return any(line.get("idle", False) for line in self._lines)

    @property
    def _untrained(self) -> list[float]:
        (values,) = (line["values"] for line in self._lines if line["rung"] is None)
        return [self._sign * value for value in values or ()]

    def _signed(self, values: list[float] | None) -> Values:
        return None if values is None else [self._sign * value for value in values]

    def _rate(self, rung: int) -> float:
        return rate_search.rate_of(self._options.learning_rate, rung)

    def run(self, rung: int | None) -> None:
        """Trains at a rung, or not at all, and keeps what is measured then."""
        preparation, started = self._preparation, time.monotonic()
        folder = preparation.work / f"{UNFINISHED_PREFIX}-trial"
        preparation.launch.processes.on_main(lambda: _empty(folder))
        idle = False
        try:
            values = self._measure(folder) if rung is None else self._try(rung, folder)
        except LearntNothing:
            values, idle = [self._sign * value for value in self._untrained], True
        free_memory()
        line: _Trial = {
            "rung": rung,
            "values": values,
            "seconds": round(time.monotonic() - started, 3),
            "idle": idle,
        }
        # Processes may measure seconds, and on GPUs last digits, otherwise.
        agreed = preparation.launch.processes.on_main(lambda: self._keep(line, folder))
        self._lines.append(agreed)

    def _keep(self, line: _Trial, folder: Path) -> _Trial:
        """Journals a line once nothing else is left of its trial."""
        remove(folder)
        if self._journal is not None:
            self._journal.append([line])
        return line

    def _measure(self, folder: Path) -> list[float]:
        """Returns the values of the model that the stage starts from."""
        # Nothing is watched but what is measured here.
        job = replace(self._preparation.job, plan=None)
        run = load_run(job, self._preparation.launch, folder, None, None, silent)
        return self._trials.values(run.masked.model.eval())

    def _try(self, rung: int, folder: Path) -> list[float] | None:
        """Returns the values after a short training, None where it diverged."""
        preparation, rate = self._preparation, self._rate(rung)
        options = small(self._options, rate)
        job = replace(
            preparation.job,
            options=options,
            plan=None,
            manifest=replace(preparation.job.manifest, notes=[]),
        )
        try:
            run = load_run(job, preparation.launch, folder, None, None, self._progress(rate))
            self._trials.fit(run, options)
            values = self._trials.values(run.masked.model.eval())
        except Diverged:
            return None
        except LearntNothing:
            raise
        except LoraparError as cause:
            raise LoraparError(
                f"`--find-lr` failed at learning rate {rate:g}: {cause.what}",
                cause.found,
                cause.hint,
            ) from cause
        return values if all(map(math.isfinite, values)) else None

    def _progress(self, rate: float) -> Progress:
        def show(event: Event) -> None:
            if isinstance(event, Advance):
                event = replace(event, task=f"trying learning rate {rate:g}")
            self._preparation.progress(event)

        return show

    def conclude(self) -> RateSearch:
        """Returns what was found."""
        tried, start = self.tried, self._untrained
        best = rate_search.best_rung(tried)
        chosen = rate_search.choose_rung(tried, start)
        return {
            "rate": self._options.learning_rate if chosen is None else self._rate(chosen),
            "reason": self._reason(chosen, best),
            "found": chosen is not None,
            "measure": self._trials.measure,
            "held_out": len(start),
            "steps": self._options.find_lr_steps,
            "untrained": self._sign * fmean(start),
            "curve": [self._point(rung, tried[best]) for rung in sorted(tried)],
            "seconds": sum(line["seconds"] for line in self._lines),
            "belongs_to": self._belongs_to,
        }

    def _point(self, rung: int, best: Values) -> RateTrial:
        """Returns a point of the curve."""
        values = self.tried[rung]
        if values is None or best is None:
            return {"rate": self._rate(rung), "value": None, "behind": None, "error": None}
        behind, error = rate_search.paired(values, best)
        return {
            "rate": self._rate(rung),
            "value": self._sign * fmean(values),
            "behind": behind,
            "error": error,
        }

    def _reason(self, chosen: int | None, best: int) -> str:
        measure, steps = self._trials.measure, self._options.find_lr_steps
        if self.is_idle:
            return (
                f"no step of {steps} had a gradient, so that no rate can be told from another: the "
                "default stays, more `--find-lr-steps` may tell"
            )
        if chosen is None:
            return (
                f"no rate changed the held-out {measure} for the better beyond its noise within "
                f"{counted(steps, 'step')}: the default stays"
            )
        if chosen == best:
            return f"best held-out {measure} after {counted(steps, 'step')}"
        return (
            f"held-out {measure} after {counted(steps, 'step')} is within one standard error of the best, at "
            f"{self._rate(best):g}, and short trials favour low rates"
        )


def _empty(folder: Path) -> None:
    """Makes an empty folder in place of what a killed trial has left."""
    remove(folder)
    folder.mkdir()


def small(options: TrainingOptions, rate: float) -> TrainingOptions:
    """Returns the options of a trial: those of the stage at another rate, shorter, alone."""
    changes: dict[str, object] = {}
    if hasattr(options, "stop_without_spread"):
        changes["stop_without_spread"] = False
    return replace(
        options,
        learning_rate=rate,
        find_lr=False,
        max_steps=options.find_lr_steps,
        # A trial that is interrupted starts over; a multiple keeps whole generations.
        save_steps=options.save_steps * options.find_lr_steps,
        warmup=options.warmup if options.warmup < 1 else _WARMUP_SHARE,
        report_to="none",
        **changes,  # type: ignore[arg-type]
    )
