"""`compare`: trains every cell at its own learning rate, measures them, and says what pays."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from lorapar_cli import __version__
from lorapar_cli.comparison.cells import PAPER, Cell
from lorapar_cli.comparison.grid import Grid, open_grid
from lorapar_cli.comparison.options import CompareOptions
from lorapar_cli.comparison.planning.budget import Plan, describe_left_out, read_time
from lorapar_cli.comparison.planning.timed_plan import TimedPlan
from lorapar_cli.comparison.report.results import (
    ESTIMATOR,
    BaseRow,
    CellRow,
    Comparison,
    DifferenceRow,
    Measure,
    Verdict,
    base_row,
    cell_row,
    compare_cells,
    pooled_mean,
)
from lorapar_cli.comparison.report.tables import to_csv, to_markdown
from lorapar_cli.comparison.report.verdict import Judged, join_sentences, judge
from lorapar_cli.comparison.schedule import InProcess, Limits, Pool, StageOutcome, run_cells
from lorapar_cli.comparison.starts import rank_of
from lorapar_cli.comparison.train import Trainer
from lorapar_cli.comparison.trials import Trial, TrialResult, cell_folder
from lorapar_cli.comparison.workers import Workers, start_processes
from lorapar_cli.events import Advance, Progress, silent
from lorapar_cli.names import SCHEMA_VERSION, Artifact, Stage, System
from lorapar_cli.plots.learning_forgetting import Point, draw_learning_forgetting
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.disk.compared_inputs import compared_inputs
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.working import working_in

MARKDOWN, CSV, PICTURE = "compare.md", "compare.csv", "learning-forgetting.png"


def compare(run_dir: RunDir, options: CompareOptions, *, progress: Progress = silent) -> Comparison:
    """Trains what has not been trained yet and writes `results.json`, `compare.md`, `compare.csv`.

    Every finished training is published at once and never repeated, whatever ends the command.

    Raises:
        LoraparError: The run is not scored, its records do not suffice, or a stage fails.
        UsageError: A cell or a setting is unknown or out of range.
    """
    grid = open_grid(run_dir, options)
    with working_in(grid.root):
        trainer = Trainer(grid)
        progress(Advance("measuring the base model"))
        base = trainer.measure_base()
        with ExitStack() as stack:
            pool: Pool = InProcess(trainer.run)
            if options.jobs > 1:
                processes = stack.enter_context(start_processes(grid, options.jobs))
                pool = Workers(grid, processes)
            outcomes, left_out = _train(grid, pool, _Shown(progress))
        comparison = _summarise(grid, base, outcomes, left_out)
        _write(grid, comparison, progress)
    return comparison


Outcomes = dict[str, dict[Stage, StageOutcome]]


def _train(grid: Grid, pool: Pool, shown: "_Shown") -> tuple[Outcomes, list[str]]:
    """Returns the outcomes of the cells that fit into the time, and what is left out."""
    options, cells = grid.options, grid.cells
    wanted = Plan(options.seeds, options.max_rates, len(cells))
    if options.budget is None:
        limits = Limits(wanted.seeds, wanted.rates)
        return run_cells(grid, cells, limits, pool, options.jobs, shown.heard), []
    timed = TimedPlan(grid, wanted, read_time(options.budget))
    limits = Limits(timed.plan.seeds, timed.plan.rates)

    def heard(trial: Trial, result: TrialResult) -> None:
        shown.heard(trial, result)
        timed.heard(result)
        limits.seeds, limits.rates = timed.plan.seeds, timed.plan.rates

    run_cells(grid, cells[:1], limits, pool, 1, heard)
    plan = timed.after_first_cell()
    # All of them by the final plan: what the first cell has trained beyond it is not reported, as it
    # is not when the command is repeated.
    final = Limits(plan.seeds, plan.rates)
    outcomes = run_cells(grid, cells[: plan.cells], final, pool, options.jobs, shown.heard)
    return outcomes, describe_left_out(wanted, timed.plan, [cell.name for cell in cells])


class _Shown:
    """Shows one line of progress a cell."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._heard: set[Trial] = set()
        self._done: dict[str, int] = {}

    def heard(self, trial: Trial, result: TrialResult) -> None:
        """Shows how far the cell of a finished training has come."""
        if trial in self._heard:
            return
        self._heard.add(trial)
        done = self._done[trial.cell] = self._done.get(trial.cell, 0) + 1
        kind = "search" if trial.search else f"seed {trial.seed}"
        figures = [f"{trial.stage} {kind}", f"rate {trial.rate:g}"]
        if "diverged" in result:
            figures.append(result["diverged"].partition(",")[0])
        elif "validation" in result:
            what = "loss" if trial.stage is Stage.TRAIN_SFT else "accuracy"
            figures.append(f"validation {what} {result['validation']:.3f}")
        self._progress(Advance(f"cell {trial.cell}", done, None, figures))


def _systems(grid: Grid, cell: Cell, stage: Stage) -> list[str]:
    data = grid.training_options(cell, stage).data
    return [data] if data in tuple(System) else [system.value for system in System]


def _summarise(
    grid: Grid,
    base: TrialResult,
    outcomes: Mapping[str, Mapping[Stage, StageOutcome]],
    left_out: list[str],
) -> Comparison:
    """Returns everything that `results.json` holds."""
    rows: list[CellRow] = []
    differences: list[DifferenceRow] = []
    verdicts: list[Verdict] = []
    folders: dict[str, dict[str, str]] = {}
    for stage in grid.stages:
        found = {name: each[stage] for name, each in outcomes.items() if stage in each}
        own = [
            cell_row(name, stage, each, base, _systems(grid, grid.cell(name), stage))
            for name, each in found.items()
        ]
        good = {row["cell"]: found[row["cell"]] for row in own if "diverged" not in row}
        of_stage = compare_cells(good, stage)
        judged = _to_judge(grid, stage, base, good, {row["cell"]: row for row in own}, of_stage)
        verdicts.append(judge(judged))
        rows, differences = rows + own, differences + of_stage
        folders[stage.value] = {
            name: cell_folder(grid, grid.cell(name), stage).relative_to(grid.root).as_posix()
            for name in found
        }
    read = [Stage.CLASSIFY, Stage.SCORE, *([Stage.TRAIN_SFT] if grid.options.stage == "rl" else [])]
    return {
        "schema": SCHEMA_VERSION,
        "inputs": compared_inputs(grid.run_dir, read),
        "settings": json.loads(json.dumps(grid.options.settings(), default=str)),
        "estimator": ESTIMATOR,
        "measured": {system.value: len(base["losses"].get(system.value, [])) for system in System},
        "base": base_row(base),
        "cells": rows,
        "folders": folders,
        "differences": differences,
        "verdicts": verdicts,
        "sentence": join_sentences(verdicts),
        "left_out": left_out,
        "notes": [*_notes(grid), *_versions(outcomes)],
    }


def _to_judge(
    grid: Grid,
    stage: Stage,
    base: TrialResult,
    outcomes: Mapping[str, StageOutcome],
    rows: Mapping[str, CellRow],
    differences: list[DifferenceRow],
) -> Judged:
    systems = _systems(grid, grid.cells[0], stage)
    answered = any(base["correct"].get(system) for system in systems)
    measure: Measure = "accuracy" if stage is Stage.TRAIN_RL and answered else "loss"
    return Judged(
        stage=stage,
        measure=measure,
        systems=systems,
        outcomes=outcomes,
        costs={name: (rows[name]["active"], _effort(grid, grid.cell(name))) for name in outcomes},
        means={
            name: pooled_mean(list(each.results.values()), measure, systems)
            for name, each in outcomes.items()
        },
        base=pooled_mean([base], measure, systems),
        differences=differences,
        margin=grid.options.margin,
    )


def _effort(grid: Grid, cell: Cell) -> int:
    """Returns what choosing a cell's elements takes: nothing, the run's scoring, or one of its own."""
    if cell.settings(Stage.SCORE):
        return 2
    needs_scores = cell.trains == "selected" and grid.partition_options(cell).select != "random"
    return int(needs_scores)


def _notes(grid: Grid) -> list[str]:
    notes = []
    for cell in grid.cells:
        if cell.trains == "rank" and cell.rank is None:
            rank = rank_of(grid, cell, grid.stages[0])
            notes.append(
                f"`{cell.name}` is plain LoRA of rank {rank}, whose number of elements is the "
                f"nearest to that of `{PAPER}`"
            )
    return notes


def _versions(outcomes: Mapping[str, Mapping[Stage, StageOutcome]]) -> list[str]:
    """Returns a note where not all trainings that are reported are of this version."""
    results = [
        result
        for stages in outcomes.values()
        for outcome in stages.values()
        for result in outcome.results.values()
    ]
    found = {result.get("lorapar", "an earlier version") for result in results}
    if found <= {__version__}:
        return []
    return [
        f"trained by lorapar {', '.join(sorted(found))}: remove `compare/cells` to train all anew"
    ]


def _write(grid: Grid, comparison: Comparison, progress: Progress) -> None:
    """Publishes tables and picture; `results.json` comes last."""
    for name, text in ((MARKDOWN, to_markdown(comparison)), (CSV, to_csv(comparison))):
        with atomic_file(grid.root / name) as file:
            file.write(text)
    draw_learning_forgetting(_points(comparison), grid.root / Artifact.PLOTS / PICTURE)
    with atomic_file(grid.root / Artifact.RESULTS) as file:
        json.dump(comparison, file, indent=2, ensure_ascii=False)
        file.write("\n")


def _points(comparison: Comparison) -> dict[str, list[Point]]:
    """Returns stage -> a point for the base model and for each of its cells that has figures."""
    points: dict[str, list[Point]] = {}
    for verdict in comparison["verdicts"]:
        measure, systems = verdict["measure"], verdict["systems"]

        def learnt(
            row: BaseRow | CellRow, measure: Measure = measure, of: list[str] = systems
        ) -> float:
            found = [row[measure][system] for system in of if system in row[measure]]
            return sum(found) / len(found)

        points[f"{verdict['stage']}: {measure} on {' and '.join(systems)}"] = [
            Point("base model", learnt(comparison["base"]), 0.0, 0.0),
            *(
                Point(
                    row["cell"],
                    learnt(row),
                    row["forgetting"]["kl"],
                    row["forgetting"]["neutral_loss_change"],
                )
                for row in comparison["cells"]
                if row["stage"] == verdict["stage"] and "forgetting" in row
            ),
        ]
    return points


def results_folder(run_dir: RunDir) -> Path:
    """Returns where a comparison of a run directory lies."""
    return run_dir.folder("compare")
