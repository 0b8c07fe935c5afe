"""How many cells of a sweep fit into a time."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorapar_cli.comparison.naming import digest_of
from lorapar_cli.comparison.sweep.run_step import manifest_of
from lorapar_cli.comparison.sweep.steps import CellSteps, Step
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.disk.regular_files import read_json


class Budget:
    """Admits cells as long as they are expected to fit; the first one always.

    The time of a step that has not run is the mean of those of its kind that have. The number of
    cells is written down once it is decided, so that the same command gives the same table.

    Args:
        root: Folder of the steps' folders.
        folder: Folder of the sweep's results.
        seconds: That all steps may take together, those of earlier commands included.
        jobs: Steps side by side.
    """

    def __init__(
        self, root: Path, folder: Path, cells: Sequence[CellSteps], seconds: float, jobs: int
    ) -> None:
        self._root, self._cells, self._seconds = root, cells, seconds * jobs
        keys = [[step.key for step in each.steps] for each in cells]
        self._path = folder / "budgets" / f"{digest_of([keys, seconds, jobs])}.json"
        known: Any = read_json(self._path) if self._path.is_file() else {}
        self._decided: int | None = known.get("cells")

    def admits(self, number: int) -> bool:
        """Returns whether the cell of that number, from 0, is run; asked in order."""
        if self._decided is None and number > 0 and not self._fits(number):
            self._decided = number
            with atomic_file(self._path) as file:
                json.dump({"cells": number}, file)
        return self._decided is None or number < self._decided

    def _fits(self, number: int) -> bool:
        spent: dict[str, float] = {}
        by_kind: dict[str, list[float]] = {}
        unknown: dict[str, Step] = {}
        for cell in self._cells[: number + 1]:
            for step in cell.steps:
                manifest = manifest_of(self._root, step)
                if manifest is None:
                    unknown[step.key] = step
                elif step.key not in spent:
                    spent[step.key] = manifest.seconds() or 0.0
                    by_kind.setdefault(step.kind, []).append(spent[step.key])
        expected = [
            sum(times) / len(times)
            for step in unknown.values()
            if (times := by_kind.get(step.kind, []))
        ]
        return sum(spent.values()) + sum(expected) <= self._seconds
