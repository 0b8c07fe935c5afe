"""What is trained within a time: decided from the first trainings, and kept for the next command."""

import json
from dataclasses import asdict
from typing import Any

from lorapar_cli.comparison.grid import Grid
from lorapar_cli.comparison.naming import digest_of
from lorapar_cli.comparison.planning.budget import Plan, fit_to_first_cell, fit_to_first_training
from lorapar_cli.comparison.trials import TrialResult, cell_folder
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.disk.regular_files import read_json


class TimedPlan:
    """The plan of a comparison with `--budget`.

    It is decided once and written down: the same command gives the same table, whatever time the
    trainings that are left would take.

    Attributes:
        plan: What is trained, as far as it has been decided.
    """

    def __init__(self, grid: Grid, wanted: Plan, budget: float) -> None:
        self._grid, self._wanted, self._budget = grid, wanted, budget
        cells = [
            cell_folder(grid, cell, stage).name for cell in grid.cells for stage in grid.stages
        ]
        digest = digest_of([cells, asdict(wanted), budget, grid.options.jobs])
        self._path = grid.root / "budgets" / f"{digest}.json"
        self._decided: dict[str, Any] = read_json(self._path) if self._path.is_file() else {}
        self._spent: list[float] = []
        self.plan = self._known("cell") or self._known("training") or wanted

    def _known(self, step: str) -> Plan | None:
        return Plan(**self._decided[step]) if step in self._decided else None

    def _decide(self, step: str, plan: Plan) -> None:
        self.plan = plan
        self._decided[step] = asdict(plan)
        with atomic_file(self._path) as file:
            json.dump(self._decided, file)

    def heard(self, result: TrialResult) -> None:
        """Takes a training of the first cell; its first one decides on rates, seeds and cells."""
        self._spent.append(result["total_seconds"])
        if len(self._spent) > 1 or "training" in self._decided:
            return
        options = self._grid.options
        share = options.search_share if "validation" in result else 1.0
        seconds = result["total_seconds"] * len(self._grid.stages)
        self._decide(
            "training",
            fit_to_first_training(self.plan, self._budget, seconds, share, options.jobs),
        )

    def after_first_cell(self) -> Plan:
        """Returns the plan with as many cells as fit after all trainings of the first one."""
        if "cell" not in self._decided:
            spent = sum(self._spent)
            left, jobs = self._budget - spent, self._grid.options.jobs
            self._decide(
                "cell", fit_to_first_cell(self.plan, self._wanted.cells, left, spent, jobs)
            )
        return self.plan
