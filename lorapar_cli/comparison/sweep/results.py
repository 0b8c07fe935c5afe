"""What a sweep found: the figures of every cell, and their means over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NotRequired, TypedDict

from lorapar_cli.comparison.sweep.run_step import manifest_of
from lorapar_cli.comparison.sweep.schedule import Progressed
from lorapar_cli.comparison.sweep.steps import CellSteps, Step
from lorapar_cli.comparison.sweep.table_spec import TableSpec
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact, System
from lorapar_cli.stage_records.evaluation import EvalRecord
from lorapar_cli.stage_records.forgetting import Forgetting
from lorapar_cli.stage_records.partition import PartitionRecord
from lorapar_cli.stage_records.training import TrainingRecord
from lorapar_cli.store.manifest import Manifest

_PERCENT = 100


class Evaluated(TypedDict):
    """One evaluation of a cell.

    Keys:
        accuracy: Share of correct answers; of MMLU the mean of the subjects' shares.
        interval: Both ends of the 95 % interval of the share of all items.
        by_system: System -> share, where the records have one.
        forgetting: Where it was measured.
    """

    n: int
    accuracy: float
    interval: list[float]
    by_system: NotRequired[dict[str, float]]
    forgetting: NotRequired[Forgetting]


class CellRow(TypedDict):
    """One cell with one seed.

    Keys:
        labels: Axis -> label.
        failed: Why the cell has no figures, or not all of them.
        figures: Figure of a table -> value.
        evaluations: `base`, `first`, `second` -> evaluation.
        steps: What was run, in order: folder below `stages/`, number of cells that have it, and
            its seconds by the clock.
        picture: Scatter plot of the partition below `stages/`, where one was drawn.
    """

    labels: dict[str, str]
    seed: int
    method: str
    order: str
    failed: NotRequired[str]
    figures: dict[str, float]
    evaluations: dict[str, Evaluated]
    steps: list["StepRow"]
    picture: NotRequired[str]


class StepRow(TypedDict):
    """One step of a cell."""

    folder: str
    cells: int
    seconds: NotRequired[float]


class TableCell(TypedDict):
    """The cells of all seeds with the same labels.

    Keys:
        labels: Axis -> label.
        seeds: Those that have figures.
        failed: Seeds whose cell failed.
        mean, deviation: Figure -> mean over seeds, and standard deviation where there are several.
        published: Figure -> published value.
    """

    labels: dict[str, str]
    seeds: list[int]
    failed: NotRequired[list[int]]
    mean: dict[str, float]
    deviation: dict[str, float]
    published: dict[str, float]


class Layout(TypedDict):
    """How the table is laid out."""

    rows: list[str]
    columns: list[str]
    figures: dict[str, str]


class SweepResult(TypedDict):
    """The content of a sweep's `results.json`.

    Keys:
        left_out: Cells that did not fit into `--budget`.
        notes: Sentences for a person.
    """

    schema: int
    lorapar_version: str
    title: str
    model: str
    embedded: bool
    file: str
    seeds: list[int]
    layout: Layout
    note: str
    table: list[TableCell]
    cells: list[CellRow]
    left_out: list[str]
    notes: list[str]


@dataclass(frozen=True)
class Reader:
    """Reads the figures of cells from the manifests of their steps.

    Attributes:
        root: Folder of the steps' folders.
        shared: Key of a step -> number of cells that have it.
    """

    root: Path
    shared: Mapping[str, int]

    def row(self, steps: CellSteps, state: Progressed) -> CellRow:
        """Returns the row of a cell whose steps have ended."""
        cell = steps.cell
        by_key = {step.key: step for step in steps.steps}
        row: CellRow = {
            "labels": dict(cell.labels),
            "seed": cell.seed,
            "method": cell.method,
            "order": cell.order,
            "figures": {},
            "evaluations": {},
            "steps": [self._step_row(step) for step in steps.steps],
        }
        if (reason := state.why_failed(steps)) is not None:
            row["failed"] = reason
        for name, key in steps.evaluated.items():
            if key in state.done:
                row["evaluations"][name] = self._evaluated(by_key[key])
        row["figures"] = self._figures(steps, state, row["evaluations"], by_key)
        picture = f"{steps.partition}/{Artifact.PLOTS}/scatter.png"
        if (self.root / picture).is_file():
            row["picture"] = picture
        return row

    def versions(self, cells: Sequence[CellSteps], state: Progressed) -> list[str]:
        """Returns the versions of lorapar that ran the finished steps of some cells."""
        distinct = {step.key: step for each in cells for step in each.steps}
        found = {
            self._manifest(step).lorapar_version
            for key, step in distinct.items()
            if key in state.done
        }
        return sorted(found)

    def _step_row(self, step: Step) -> StepRow:
        found: StepRow = {"folder": step.key, "cells": self.shared[step.key]}
        manifest = manifest_of(self.root, step)
        if manifest is not None:
            found["seconds"] = manifest.seconds() or 0.0
        return found

    def _manifest(self, step: Step) -> Manifest:
        """Returns the manifest of a step that is known to have finished."""
        manifest = manifest_of(self.root, step)
        if manifest is None:
            raise AssertionError(f"`{step.key}` has not finished")
        return manifest

    def _record(self, step: Step, kind: type[Any]) -> Any:
        manifest = self._manifest(step)
        try:
            return manifest.record(kind)
        except LoraparError as error:
            folder = self.root / step.key
            raise LoraparError(
                f"the `manifest.json` in `{folder}` is damaged",
                error.found,
                "remove this folder, and the same command makes it anew",
            ) from error

    def _evaluated(self, step: Step) -> Evaluated:
        (model,) = self._record(step, EvalRecord).metrics["models"]
        found: Evaluated = {
            "n": model["n"],
            "accuracy": model.get("macro_accuracy", model["accuracy"]),
            "interval": model["interval"],
        }
        if "by_system" in model:
            found["by_system"] = {
                system: each["accuracy"] for system, each in model["by_system"].items()
            }
        if "forgetting" in model:
            found["forgetting"] = model["forgetting"]
        return found

    def _figures(
        self,
        steps: CellSteps,
        state: Progressed,
        evaluations: Mapping[str, Evaluated],
        by_key: Mapping[str, Step],
    ) -> dict[str, float]:
        figures = {name: _PERCENT * each["accuracy"] for name, each in evaluations.items()}
        if steps.cell.method == "base" and "base" in figures:
            figures["first"] = figures["base"]
        for name, key in zip(("active", "active-second"), steps.trained, strict=False):
            if key in state.done:
                counts = self._record(by_key[key], TrainingRecord).counts
                figures[name] = _PERCENT * counts["active"] / counts["elements"]
        if steps.partition is not None and steps.partition in state.done:
            metrics = self._record(by_key[steps.partition], PartitionRecord).metrics
            figures["jaccard"] = metrics["jaccard"]
        return figures | _forgotten(evaluations)


def _forgotten(evaluations: Mapping[str, Evaluated]) -> dict[str, float]:
    """Returns what the last stage's adapter has forgotten: distance, and changes of losses."""
    last = evaluations.get("second") or evaluations.get("first")
    if last is None or "forgetting" not in last:
        return {}
    found = last["forgetting"]
    distances = found.get("kl", {}).values()
    figures = {"kl": fmean(distances)} if distances else {}
    if "base" not in evaluations or "forgetting" not in evaluations["base"]:
        return figures
    base = evaluations["base"]["forgetting"]
    figures["neutral"] = found["neutral_loss"] - base["neutral_loss"]
    return figures | {
        f"loss-{system}": loss - base["loss"][system]
        for system, loss in found["loss"].items()
        if system in tuple(System)
    }


def table_of(rows: Sequence[CellRow], spec: TableSpec) -> list[TableCell]:
    """Returns the cells of the table: means over seeds, and what was published of them.

    Published figures of cells that were not run have a cell of their own.
    """
    groups: dict[tuple[tuple[str, str], ...], list[CellRow]] = {}
    for row in rows:
        groups.setdefault(tuple(row["labels"].items()), []).append(row)
    found = [_table_cell(group) for group in groups.values()]
    for each in spec.published:
        wanted = dict(each.labels)
        own = [cell for cell in found if wanted.items() <= cell["labels"].items()]
        if not own:
            own = [{"labels": wanted, "seeds": [], "mean": {}, "deviation": {}, "published": {}}]
            found += own
        for cell in own:
            cell["published"] |= each.figures
    return found


def _table_cell(group: Sequence[CellRow]) -> TableCell:
    good = [row for row in group if "failed" not in row]
    values: dict[str, list[float]] = {}
    for row in good:
        for name, value in row["figures"].items():
            values.setdefault(name, []).append(value)
    cell: TableCell = {
        "labels": dict(group[0]["labels"]),
        "seeds": [row["seed"] for row in good],
        "mean": {name: fmean(each) for name, each in values.items()},
        "deviation": {name: stdev(each) for name, each in values.items() if len(each) > 1},
        "published": {},
    }
    if len(good) < len(group):
        cell["failed"] = [row["seed"] for row in group if "failed" in row]
    return cell


def summarise(row: CellRow) -> list[str]:
    """Returns a cell's figures for its line of progress."""
    if "failed" in row:
        return [f"failed: {row['failed']}"]
    shown = []
    for key in ("active", "first", "second", "jaccard"):
        if key in row["figures"]:
            unit = "" if key == "jaccard" else " %"
            shown.append(f"{key} {row['figures'][key]:.3g}{unit}")
    return shown
