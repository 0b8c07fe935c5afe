"""Comparisons as parts of a study: settings as files, and what of the result is kept."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from evidence.studies import line_of
from lorapar_cli.comparison.compare import compare
from lorapar_cli.comparison.grid import open_grid
from lorapar_cli.comparison.options import CompareOptions
from lorapar_cli.comparison.report.estimators import holm
from lorapar_cli.comparison.report.results import Comparison, Measure, difference_of
from lorapar_cli.comparison.schedule import StageOutcome
from lorapar_cli.comparison.trials import Trial, read_result, trial_folder
from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Event
from lorapar_cli.names import Stage, System
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.run_dir import RunDir

Say = Callable[[str], None]
Sections = Mapping[str, Mapping[str, Any]]
_KEPT = ("cell", "against", "measure", "system", "difference", "low", "high", "p_holm")


@dataclass(frozen=True)
class Asked:
    """A comparison on a run.

    Attributes:
        options: Of the command, without configuration and cells.
        sections: `partition`, `train-sft`, `train-rl`: what all cells share.
        built_in: Names of built-in cells.
        own: Further cells, as in a file of cells.
    """

    run: RunDir
    options: CompareOptions
    sections: Sections
    built_in: Sequence[str]
    own: Mapping[str, Any]

    def written(self, folder: Path) -> CompareOptions:
        """Returns the options, with configuration and cells as files in the folder."""
        named = list(self.built_in)
        if self.own:
            named.append(str(_write_yaml(folder / "cells.yaml", self.own)))
        config = _write_yaml(folder / "config.yaml", self.sections)
        return replace(self.options, cells=tuple(named), config=config)


def _write_yaml(path: Path, content: Any) -> Path:
    with atomic_file(path) as file:
        yaml.safe_dump(content, file, sort_keys=False)
    return path


def run_comparison(asked: Asked, folder: Path, say: Say) -> Comparison:
    """Runs a comparison to its end; a repeated one goes on where it was."""

    def heard(event: Event) -> None:
        if (line := line_of(event)) is not None:
            say(f"  {line}")

    return compare(asked.run, asked.written(folder), progress=heard)


def kept(comparison: Comparison) -> dict[str, Any]:
    """Returns what a study keeps of a comparison: cells, differences, verdicts."""
    left_out = ("optimizer_bytes", "seconds")
    return {
        "measured": comparison["measured"],
        "base": comparison["base"],
        "cells": [
            {key: value for key, value in row.items() if key not in left_out}
            for row in comparison["cells"]
        ],
        "differences": [
            {"stage": row["stage"]} | {key: row[key] for key in _KEPT}
            for row in comparison["differences"]
        ],
        "verdicts": comparison["verdicts"],
        "sentence": comparison["sentence"],
    }


def outcomes_of(asked: Asked, folder: Path, comparison: Comparison) -> dict[str, StageOutcome]:
    """Returns the trainings of the last stage that was compared, by cell.

    Raises:
        LoraparError: A training has no figures.
    """
    grid = open_grid(asked.run, asked.written(folder))
    stage = grid.stages[-1]
    found: dict[str, StageOutcome] = {}
    for row in comparison["cells"]:
        if row["stage"] != stage or "diverged" in row:
            continue
        name = row["cell"]
        outcome = StageOutcome(row["learning_rate"], {})
        for seed in row["seeds"]:
            trial = Trial(name, stage, outcome.rate, seed, search=False)
            result = read_result(trial_folder(grid, trial))
            if result is None:
                raise LoraparError(f"the training of `{name}` with seed {seed} has no result")
            outcome.results[seed] = result
        found[name] = outcome
    return found


def paired_rows(
    outcomes: Mapping[str, StageOutcome],
    pairs: Iterable[tuple[str, str]],
    stage: Stage,
    measures: Sequence[Measure] = ("loss", "accuracy"),
) -> list[dict[str, Any]]:
    """Returns differences of pairs of cells, corrected for all pairs and systems of one measure."""
    chosen = list(pairs)
    rows: list[dict[str, Any]] = []
    for measure in measures:
        found: list[dict[str, Any]] = []
        for cell, against in chosen:
            for system in System:
                one = difference_of(outcomes[cell], outcomes[against], measure, [system.value])
                if one is None:
                    continue
                row = {"stage": stage.value, "cell": cell, "against": against, "measure": measure}
                row |= {"system": system.value, "difference": one.difference, "low": one.low}
                found.append(row | {"high": one.high, "p_value": one.p_value})
        for row, p in zip(found, holm([row["p_value"] for row in found]), strict=True):
            row["p_holm"] = p
        rows += found
    return rows
