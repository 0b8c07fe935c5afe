"""Runs the steps of a sweep: each one once, as soon as what it needs has finished."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lorapar_cli.comparison.naming import write_dependencies
from lorapar_cli.comparison.processes import Processes
from lorapar_cli.comparison.sweep.budget import Budget
from lorapar_cli.comparison.sweep.run_step import from_job, manifest_of, run_step, to_job
from lorapar_cli.comparison.sweep.steps import CellSteps, Step
from lorapar_cli.errors import LoraparError


class StepPool(Protocol):
    """Runs steps, one or several at a time."""

    def submit(self, step: Step) -> None:
        """Takes a step whose needs have finished."""

    def wait(self) -> tuple[Step, LoraparError | None]:
        """Returns a step that has ended, and what it failed with, if it did."""


class InProcess(StepPool):
    """Runs steps in this process, one after the other."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._waiting: list[Step] = []

    def submit(self, step: Step) -> None:
        """Takes a step to be run."""
        self._waiting.append(step)

    def wait(self) -> tuple[Step, LoraparError | None]:
        """Runs the first step that waits."""
        step = self._waiting.pop(0)
        try:
            run_step(self._root, step)
        except LoraparError as error:
            return step, error
        return step, None


class InProcesses(StepPool):
    """Runs steps side by side, each in a process of its own."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def submit(self, step: Step) -> None:
        """Takes a step to be run."""
        self._processes.submit(to_job(step))

    def wait(self) -> tuple[Step, LoraparError | None]:
        """Returns a step that has ended."""
        job, error = self._processes.wait()
        return from_job(job), error


@dataclass
class Progressed:
    """What has become of a sweep's steps.

    Attributes:
        done: Keys of the finished ones.
        failed: Key -> why it failed, or why it could not run.
        admitted: Number of cells, the first ones, that are run at all.
    """

    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    admitted: int = 0

    def has_ended(self, cell: CellSteps) -> bool:
        """Returns whether every step of a cell has finished or failed."""
        return all(step.key in self.done or step.key in self.failed for step in cell.steps)

    def why_failed(self, cell: CellSteps) -> str | None:
        """Returns why a cell has no results, None where it has."""
        return next((self.failed[s.key] for s in cell.steps if s.key in self.failed), None)


Heard = Callable[[Progressed], None]


def run_steps(
    root: Path,
    cells: Sequence[CellSteps],
    pool: StepPool,
    width: int,
    budget: Budget | None,
    heard: Heard,
) -> Progressed:
    """Runs the steps of all cells, by the order of the cells.

    A step that fails takes down the cells that need it and no others.

    Args:
        width: Number of steps that run at a time.
        budget: Decides how many cells are run; None for all.
        heard: Called whenever a step has ended or cells have been admitted.
    """
    state = Progressed()
    waiting: dict[str, Step] = {}
    running: set[str] = set()

    def admit() -> bool:
        if state.admitted == len(cells):
            return False
        # The first cell tells how long steps take.
        if (
            budget is not None
            and state.admitted
            and not (state.has_ended(cells[0]) and budget.admits(state.admitted))
        ):
            return False
        for step in cells[state.admitted].steps:
            if step.key not in state.done and manifest_of(root, step) is not None:
                write_dependencies(root / step.key, step.depends)
                state.done.add(step.key)
            if step.key not in state.done | running | state.failed.keys():
                waiting.setdefault(step.key, step)
        state.admitted += 1
        return True

    while True:
        _give_up(waiting, state.failed)
        ready = [s for s in waiting.values() if state.done.issuperset(s.needs.values())]
        for step in ready[: width - len(running)]:
            running.add(step.key)
            del waiting[step.key]
            pool.submit(step)
        if len(running) < width and admit():
            heard(state)
            continue
        if not running:
            return state
        step, error = pool.wait()
        running.discard(step.key)
        if error is None:
            state.done.add(step.key)
        else:
            state.failed[step.key] = error.what + (f", {error.found}" if error.found else "")
        heard(state)


def _give_up(waiting: dict[str, Step], failed: dict[str, str]) -> None:
    """Marks steps as failed that need one that failed; `waiting` is in an order of dependence."""
    for key, step in list(waiting.items()):
        reasons = [failed[need] for need in step.needs.values() if need in failed]
        if reasons:
            failed[key] = reasons[0]
            del waiting[key]


def count_shared(cells: Sequence[CellSteps]) -> Mapping[str, int]:
    """Returns key of a step -> number of cells that have it."""
    counts: dict[str, int] = {}
    for cell in cells:
        for step in cell.steps:
            counts[step.key] = counts.get(step.key, 0) + 1
    return counts
