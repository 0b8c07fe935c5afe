"""Goes through the cells of a comparison: searches each one's rate, then trains with every seed."""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lorapar_cli.comparison.cells import Cell
from lorapar_cli.comparison.grid import Grid
from lorapar_cli.comparison.planning.search import best_rung, next_rungs, rate_at
from lorapar_cli.comparison.trials import Trial, TrialResult, trial_folder
from lorapar_cli.names import Stage

Batch = list[Trial]
Results = list[TrialResult]


@dataclass
class StageOutcome:
    """What one stage of a cell came to.

    Attributes:
        rate: Learning rate of the measured trainings.
        searched: Rate -> value on the validation part, lower is better; infinite where training
            diverged.
        results: Seed -> result of each measured training.
        failures: Why there are none: what the trainings of the search came to.
    """

    rate: float
    searched: dict[float, float]
    results: dict[int, TrialResult] = field(default_factory=dict)
    failures: tuple[str, ...] = ()


@dataclass
class Limits:
    """How much of the grid is trained; it may change between two batches.

    Attributes:
        seeds: Number of measured trainings per cell.
        rates: Maximum number of rates tried per cell.
    """

    seeds: int
    rates: int


def cell_steps(
    grid: Grid, cell: Cell, limits: Limits
) -> Generator[Batch, Results, dict[Stage, StageOutcome]]:
    """Yields the trainings of a cell that may run side by side, and takes their results.

    Returns:
        Stage -> outcome. Without a later stage where every rate of an earlier one diverged.
    """
    outcomes: dict[Stage, StageOutcome] = {}
    sft: Mapping[int, str] = {}
    for stage in grid.stages:
        start = grid.training_options(cell, stage).learning_rate
        searched: dict[int, float] = {}
        failures: dict[str, None] = {}
        untrained = math.inf
        search_sft: str | None = None
        if sft:
            search_sft = sft[grid.seeds(1)[0]]
        while rungs := next_rungs(searched, limits.rates, untrained):
            batch = [
                Trial(cell.name, stage, rate_at(start, rung), grid.search_seed, True, search_sft)
                for rung in rungs
            ]
            results = yield batch
            for rung, result in zip(rungs, results, strict=True):
                searched[rung] = _as_cost(stage, result.get("validation"))
                if "untrained" in result:
                    untrained = _as_cost(stage, result["untrained"])
                if "diverged" in result:
                    failures[result["diverged"]] = None
        best = best_rung(searched) if searched else 0
        outcome = StageOutcome(
            rate_at(start, best),
            {rate_at(start, rung): searched[rung] for rung in sorted(searched)},
        )
        outcomes[stage] = outcome
        if searched and searched[best] == math.inf:
            outcome.failures = tuple(failures)
            return outcomes
        seeds = grid.seeds(limits.seeds)
        measured = [
            Trial(cell.name, stage, outcome.rate, seed, False, sft.get(seed)) for seed in seeds
        ]
        results = yield measured
        outcome.results = dict(zip(seeds, results, strict=True))
        if any("diverged" in result for result in results):
            return outcomes
        sft = {trial.seed: str(trial_folder(grid, trial)) for trial in measured}
    return outcomes


def _as_cost(stage: Stage, value: float | None) -> float:
    """Returns a search's value so that lower is better: the loss, or the share of wrong answers."""
    if value is None:
        return math.inf
    return value if stage is Stage.TRAIN_SFT else 1 - value


class Pool(Protocol):
    """Runs trainings, one or several at a time."""

    def submit(self, trial: Trial) -> None:
        """Takes a training to be run; of those that wait, the first one is run first."""

    def wait(self) -> tuple[Trial, TrialResult]:
        """Returns a training that has finished, with its result."""


class InProcess(Pool):
    """Runs trainings in this process, one after the other."""

    def __init__(self, run: Callable[[Trial], TrialResult]) -> None:
        self._run = run
        self._waiting: list[Trial] = []

    def submit(self, trial: Trial) -> None:
        """Takes a training to be run."""
        self._waiting.append(trial)

    def wait(self) -> tuple[Trial, TrialResult]:
        """Runs the first training that waits."""
        trial = self._waiting.pop(0)
        return trial, self._run(trial)


Heard = Callable[[Trial, TrialResult], None]


def run_cells(
    grid: Grid, cells: Sequence[Cell], limits: Limits, pool: Pool, width: int, heard: Heard
) -> dict[str, dict[Stage, StageOutcome]]:
    """Returns the outcomes of cells, trained by priority.

    Args:
        limits: Read whenever a cell goes on, so that it may change in between.
        width: Number of cells that are worked on at a time.
        heard: Called with each training that has finished.
    """
    outcomes: dict[str, dict[Stage, StageOutcome]] = {}
    queue = list(cells)
    running: dict[str, _Running] = {}

    def go_on(name: str, each: _Running) -> None:
        outcome = each.advance()
        if outcome is not None:
            outcomes[name] = outcome
            del running[name]
            return
        for trial in each.batch:
            pool.submit(trial)

    while queue or running:
        while queue and len(running) < width:
            cell = queue.pop(0)
            running[cell.name] = _Running(cell_steps(grid, cell, limits))
            go_on(cell.name, running[cell.name])
        if not running:
            continue
        trial, result = pool.wait()
        heard(trial, result)
        each = running[trial.cell]
        each.results[each.batch.index(trial)] = result
        if len(each.results) == len(each.batch):
            go_on(trial.cell, each)
    return {cell.name: outcomes[cell.name] for cell in cells}


class _Running:
    """A cell on its way: its current batch and the results of it that are in."""

    def __init__(self, steps: Generator[Batch, Results, dict[Stage, StageOutcome]]) -> None:
        self._steps = steps
        self.batch: Batch = []
        self.results: dict[int, TrialResult] = {}

    def advance(self) -> dict[Stage, StageOutcome] | None:
        """Takes the results of the batch; returns the cell's outcome where there is no next one."""
        results = [self.results[place] for place in range(len(self.batch))]
        try:
            self.batch = self._steps.send(results) if self.batch else next(self._steps)
        except StopIteration as done:
            return dict(done.value)
        self.results = {}
        return None
