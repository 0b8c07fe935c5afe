"""Runs the trainings of a comparison in processes of their own (`comparison.processes`)."""

from dataclasses import asdict
from pathlib import Path

from lorapar_cli.comparison.cells import as_option_value
from lorapar_cli.comparison.grid import Grid, open_grid
from lorapar_cli.comparison.options import CompareOptions
from lorapar_cli.comparison.processes import Job, Processes, Runner, serve_parent
from lorapar_cli.comparison.schedule import Pool
from lorapar_cli.comparison.train import Trainer, training_options
from lorapar_cli.comparison.trials import Trial, TrialResult, read_result, trial_folder
from lorapar_cli.options import options_of
from lorapar_cli.store.run_dir import RunDir


class Workers(Pool):
    """Runs trainings in processes; leaving the context of `processes` ends them."""

    def __init__(self, grid: Grid, processes: Processes) -> None:
        self._grid = grid
        self._processes = processes

    def submit(self, trial: Trial) -> None:
        """Takes a training; what it starts from is made here, so that no two processes make it."""
        cell = self._grid.cell(trial.cell)
        training_options(self._grid, cell, trial, trial_folder(self._grid, trial))
        self._processes.submit(trial.to_json())

    def wait(self) -> tuple[Trial, TrialResult]:
        """Returns a training that has finished, with its result.

        Raises:
            LoraparError: A training failed, or its process ended.
        """
        job, error = self._processes.wait()
        if error is not None:
            raise error
        trial = Trial.from_json(job)
        result = read_result(trial_folder(self._grid, trial))
        if result is None:
            raise AssertionError(f"{trial} has no result")
        return trial, result


def start_processes(grid: Grid, count: int) -> Processes:
    """Returns processes that are opened for the trainings of a comparison."""
    opening = {"run_dir": str(grid.run_dir.root), "options": asdict(grid.options)}
    return Processes(__name__, opening, grid.root / "logs", count)


def open_runner(opening: Job) -> Runner:
    """Returns what runs the trainings of the comparison that a process is opened for."""
    kinds = {each.name: each.kind for each in options_of(CompareOptions)}
    options = CompareOptions(
        **{name: as_option_value(kinds[name], value) for name, value in opening["options"].items()}
    )
    trainer = Trainer(open_grid(RunDir(Path(opening["run_dir"])), options))

    def run(job: Job) -> None:
        trainer.run(Trial.from_json(job))

    return run


if __name__ == "__main__":
    serve_parent(open_runner)
