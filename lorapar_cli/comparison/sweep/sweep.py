"""`sweep`: runs every cell of a grid, shares what can be shared, and lays out the table."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lorapar_cli import __version__
from lorapar_cli.comparison.planning.budget import read_time
from lorapar_cli.comparison.sweep.budget import Budget
from lorapar_cli.comparison.sweep.cells import make_cells
from lorapar_cli.comparison.sweep.checks import check, plan_cells
from lorapar_cli.comparison.sweep.grid_file import GridFile, read_grid_file
from lorapar_cli.comparison.sweep.layout import to_csv, to_markdown
from lorapar_cli.comparison.sweep.options import SweepOptions
from lorapar_cli.comparison.sweep.results import Reader, SweepResult, summarise, table_of
from lorapar_cli.comparison.sweep.run_step import manifest_of
from lorapar_cli.comparison.sweep.schedule import (
    InProcess,
    InProcesses,
    Progressed,
    StepPool,
    count_shared,
    run_steps,
)
from lorapar_cli.comparison.sweep.steps import CellSteps
from lorapar_cli.comparison.sweep.workers import start_processes
from lorapar_cli.embedded.corpus import training_records
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import Advance, Progress, silent
from lorapar_cli.names import SCHEMA_VERSION, Artifact
from lorapar_cli.plurals import counted
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.working import working_in


@dataclass(frozen=True)
class Plan:
    """A grid that is ready to run.

    Attributes:
        folder: Of its results.
        stages: Folder of the steps' folders, which grids with the same `--out` share.
    """

    file: GridFile
    options: SweepOptions
    folder: Path
    stages: Path
    seeds: Sequence[int]
    cells: list[CellSteps]


def open_plan(options: SweepOptions) -> Plan:
    """Returns the cells of a grid with their steps; nothing is run or written.

    Raises:
        LoraparError: The file cannot be read.
        UsageError: It is not a grid, or settings of a cell do not fit together.
    """
    file = read_grid_file(options.grid)
    if options.embedded and options.model is not None:
        raise UsageError("`--embedded` names the model: omit `--model`")
    if options.budget is not None:
        read_time(options.budget)
    seeds = file.seeds if options.seeds is None else tuple(range(options.seeds))
    out = options.out.absolute()
    data = out / "data" / "embedded.jsonl" if options.embedded else None
    cells = make_cells(file, options.model, data, seeds)
    if not cells:
        raise UsageError(f"grid `{file.path}` has no cells for the embedded model")
    stages = out / "stages"
    code, trust = options.allow_code_execution, options.trust_remote_code
    steps = plan_cells(cells, stages, code=code, trust=trust)
    distinct = {step.key: step for each in steps for step in each.steps}
    if problems := check(distinct.values(), () if data is None else (str(data),)):
        raise UsageError(f"grid `{file.path}` cannot be run", "\n".join(problems))
    name = f"{file.path.stem}-embedded" if options.embedded else file.path.stem
    return Plan(file, options, out / name, stages, seeds, steps)


def describe(plan: Plan) -> list[tuple[str, str, str]]:
    """Returns each cell's name, the steps that it is the first to have, and those that it shares."""
    seen: set[str] = set()
    rows = []
    for each in plan.cells:
        own = [step for step in each.steps if step.key not in seen]
        shared = [step for step in each.steps if step.key in seen]
        seen |= {step.key for step in own}
        names = [
            step.kind + (" (done)" if manifest_of(plan.stages, step) is not None else "")
            for step in own
        ]
        rows.append((each.cell.name, ", ".join(names), ", ".join(step.kind for step in shared)))
    return rows


def sweep(plan: Plan, *, progress: Progress = silent) -> SweepResult:
    """Runs what has not been run yet and writes `results.json`, `sweep.md` and `sweep.csv`.

    Every finished stage is published at once and never repeated, whatever ends the command. A cell
    that fails is shown as such; the others are run all the same, and the next command tries again.

    Raises:
        LoraparError: A process ended.
    """
    options = plan.options
    if options.embedded:
        _write_corpus(plan.options.out.absolute() / "data" / "embedded.jsonl")
    budget = None
    if options.budget is not None:
        seconds = read_time(options.budget)
        budget = Budget(plan.stages, plan.folder, plan.cells, seconds, options.jobs)
    with working_in(plan.folder), ExitStack() as stack:
        pool: StepPool = InProcess(plan.stages)
        if options.jobs > 1:
            logs = plan.folder / "logs"
            processes = stack.enter_context(start_processes(plan.stages, logs, options.jobs))
            pool = InProcesses(processes)
        shown = _Shown(plan, progress)
        state = run_steps(plan.stages, plan.cells, pool, options.jobs, budget, shown.heard)
        result = _summarise(plan, state)
        _write(plan, result)
    return result


class _Shown:
    """Shows one line of progress a cell."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self._cells, self._progress = plan.cells, progress
        self._reader = Reader(plan.stages, count_shared(plan.cells))
        self._counts: dict[int, int] = {}

    def heard(self, state: Progressed) -> None:
        """Shows the cells that have ended, and how far the first of the others has come."""
        under_way = True
        for number, each in enumerate(self._cells[: state.admitted]):
            ended = sum(s.key in state.done or s.key in state.failed for s in each.steps)
            if ended < len(each.steps) and not under_way:
                continue
            under_way = under_way and ended == len(each.steps)
            if self._counts.get(number) == ended:
                continue
            self._counts[number] = ended
            figures = []
            if ended == len(each.steps):
                figures = summarise(self._reader.row(each, state))
            self._progress(Advance(f"cell {each.cell.name}", ended, len(each.steps), figures))


def _summarise(plan: Plan, state: Progressed) -> SweepResult:
    """Returns everything that `results.json` holds."""
    reader = Reader(plan.stages, count_shared(plan.cells))
    rows = [reader.row(each, state) for each in plan.cells[: state.admitted]]
    spec = plan.file.table
    return {
        "schema": SCHEMA_VERSION,
        "lorapar_version": __version__,
        "title": plan.file.title,
        "model": plan.cells[0].cell.model,
        "embedded": plan.options.embedded,
        "file": plan.file.path.name,
        "seeds": list(plan.seeds),
        "layout": {
            "rows": list(spec.rows),
            "columns": list(spec.columns),
            "figures": dict(spec.figures),
        },
        "note": spec.note,
        "table": table_of(rows, spec),
        "cells": rows,
        "left_out": [each.cell.name for each in plan.cells[state.admitted :]],
        "notes": _versions(plan, reader.versions(plan.cells[: state.admitted], state)),
    }


def _versions(plan: Plan, found: Sequence[str]) -> list[str]:
    """Returns a note where not all stages of the table are of this version."""
    if set(found) <= {__version__}:
        return []
    return [
        f"stages of this table were run by lorapar {', '.join(found)}: give another `--out` than "
        f"`{plan.options.out}` to run all anew"
    ]


def _write(plan: Plan, result: SweepResult) -> None:
    """Publishes the tables; `results.json` comes last."""
    for name, text in (
        ("sweep.md", to_markdown(result, plan.file.table)),
        ("sweep.csv", to_csv(result)),
    ):
        with atomic_file(plan.folder / name) as file:
            file.write(text)
    with atomic_file(plan.folder / Artifact.RESULTS) as file:
        json.dump(result, file, indent=2, ensure_ascii=False)
        file.write("\n")


def _write_corpus(path: Path) -> None:
    """Writes the embedded training records, unless they are already there."""
    text = "".join(json.dumps(record) + "\n" for record in training_records())
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    with atomic_file(path) as file:
        file.write(text)


def require_success(result: SweepResult) -> None:
    """Raises an error if a cell failed.

    Raises:
        LoraparError: Names the cells and what they failed with.
    """
    failed = [row for row in result["cells"] if "failed" in row]
    if failed:
        reasons = dict.fromkeys(row["failed"] for row in failed)
        raise LoraparError(
            f"{len(failed)} of {counted(len(result['cells']), 'cell')} failed",
            "\n".join(reasons),
            "run the same command again once this is mended: finished stages are kept",
        )
