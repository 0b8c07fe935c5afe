"""Several runs in one Markdown table, with one row per evaluated model."""

import shlex

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.settings import accuracy_of
from lorapar_cli.names import Stage, System
from lorapar_cli.stage_records.evaluation import EvalRecord, ModelRow
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.store.run_dir import ADAPTERS, RunDir
from lorapar_cli.tools.markdown import accuracy_cell, literal, table, title_of
from lorapar_cli.tools.run_results import (
    TRAINING,
    RunResults,
    read_run,
    selection_in_words,
    share_active,
)


def compare_runs(run_dirs: list[RunDir]) -> str:
    """Returns a Markdown table with one row per evaluated model of each run.

    A run without a finished evaluation has a row that says so.

    Raises:
        LoraparError: No run has a finished evaluation.
    """
    rows = []
    for run in _read_evaluated(run_dirs):
        if not run.evaluations:
            rows.append(
                [literal(str(run.directory.root)), literal(run.base), "none finished", *[""] * 9]
            )
        for name, manifest in run.evaluations.items():
            for row in manifest.record(EvalRecord).metrics["models"]:
                completion = accuracy_of(manifest.settings)
                of_run = map(literal, (str(run.directory.root), run.base, name))
                rows.append([*of_run, literal(row["model"]), completion, *_way(run, row)])
    heads = ["run", "base model", "evaluation", "model", "accuracy of", "selection", "init"]
    heads += ["active SFT", "active RL", "all"]
    return table([*heads, *(title_of(system) for system in System)], rows, text=7) + "\n"


def evaluated_models(run_dirs: list[RunDir]) -> dict[str, list[tuple[str, ModelRow]]]:
    """Returns name of an evaluation -> "run: model" and row of each model of each run that has it.

    Raises:
        LoraparError: No run has a finished evaluation.
    """
    found: dict[str, list[tuple[str, ModelRow]]] = {}
    for run in _read_evaluated(run_dirs):
        for name, manifest in run.evaluations.items():
            metrics = manifest.record(EvalRecord).metrics
            if "harness" not in metrics:
                found.setdefault(name, []).extend(
                    (f"{run.directory.root}: {row['model']}", row) for row in metrics["models"]
                )
    return found


def _read_evaluated(run_dirs: list[RunDir]) -> list[RunResults]:
    runs = [read_run(run_dir) for run_dir in run_dirs]
    if not any(run.evaluations for run in runs):
        first = runs[0].directory.root
        raise LoraparError(
            f"run directory `{first}` has no finished evaluation"
            if len(runs) == 1
            else f"none of the {len(runs)} run directories has a finished evaluation",
            hint=f"run `lorapar eval --run-dir {shlex.quote(str(first))}`",
        )
    return runs


def _way(run: RunResults, row: ModelRow) -> list[str]:
    """Returns how a model was made and its accuracies: the cells of a comparison."""
    by_system = row.get("by_system", {})
    came_about = ["", "", "", ""]
    if row["model"] in ADAPTERS:
        order = list(Stage)
        last = order.index(ADAPTERS[row["model"]])
        passed = {
            stage: run.stages.get(stage) if order.index(stage) <= last else None
            for stage in TRAINING
        }
        score = run.stages.get(Stage.SCORE)
        came_about = [
            _selection_of(run, [manifest for manifest in passed.values() if manifest is not None]),
            score.settings["init"] if score else "",
            *map(share_active, passed.values()),
        ]
    return [
        *came_about,
        accuracy_cell(row),
        *(accuracy_cell(by_system[system]) if system in by_system else "" for system in System),
    ]


def _selection_of(run: RunResults, trained: list[Manifest]) -> str:
    """Returns how the elements that were active in training had been selected."""
    if not trained:
        return ""
    if all("mask" not in manifest.inputs for manifest in trained):
        return "all elements"
    cut = run.stages.get(Stage.PARTITION)
    return selection_in_words(cut) if cut else ""
