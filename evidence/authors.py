"""Step for step against the published script: what five of its faults change, one at a time."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evidence import faults, runs
from evidence.comparisons import Asked, paired_rows
from evidence.sizes import StudySize
from evidence.studies import Study, Unit
from lorapar_cli.comparison import train
from lorapar_cli.comparison.cells import PAPER, RANDOM
from lorapar_cli.comparison.grid import open_grid
from lorapar_cli.comparison.report.results import cell_row
from lorapar_cli.comparison.schedule import InProcess, Limits, StageOutcome, run_cells
from lorapar_cli.comparison.starts import Start, find_start
from lorapar_cli.comparison.train import Trainer
from lorapar_cli.comparison.trials import Trial, TrialResult
from lorapar_cli.names import ADAPTER_WEIGHTS, Stage, System
from lorapar_cli.store.tensor_files import read_shapes

FAITHFUL = "as the paper says"
WEIGHT_DECAY = 0.1
CELLS: dict[str, dict[str, Any]] = {
    "gaussian-init": {"score": {"init": "gaussian", "init_scale": 0.01}},
    "all-records": {"train-sft": {"data": "all"}, "train-rl": {"data": "all"}},
}
"""Faults that are options of the stages; the others are switched on in `evidence.faults`."""

FAULTS = ("frozen-decay", "by-position", "gaussian-init", "all-records", "attended-padding")


@dataclass(frozen=True)
class Size(StudySize):
    """How much is trained and measured."""

    sft_steps: int = 112


def authors_study(work: Path, size: Size, say: Callable[[str], None]) -> Study:
    """Returns the study; a unit for each fault."""
    root = work / "authors"

    def unit(fault: str) -> Unit:
        def measure(folder: Path) -> Mapping[str, Any]:
            right, base = _train(root / "right", None, size, say)
            wrong, _ = _train(folder, fault, size, say)
            notes = faults.read_moved(folder) if fault == "frozen-decay" else {}
            return {
                "cells": [
                    _row(name, stage, each[stage], base)
                    for name, each in ((FAITHFUL, right), (fault, wrong))
                    for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL)
                ],
                "differences": [
                    row
                    for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL)
                    for row in paired_rows(
                        {FAITHFUL: right[stage], fault: wrong[stage]}, [(fault, FAITHFUL)], stage
                    )
                ],
                **notes,
            }

        settings = size.settings() | {"sft": runs.SFT, "rl": runs.RL, "decay": WEIGHT_DECAY}
        return Unit(fault, settings, measure)

    return Study(
        "authors",
        "Against the published script: five faults, one at a time",
        "python -m evidence authors",
        list(range(1, size.seeds + 1)),
        [unit(fault) for fault in FAULTS],
        {"records": size.per_system, "samples": size.samples, "theta": 0.9},
    )


def _row(name: str, stage: Stage, outcome: StageOutcome, base: TrialResult) -> dict[str, Any]:
    systems = [System.SYSTEM1 if stage is Stage.TRAIN_SFT else System.SYSTEM2]
    row = cell_row(name, stage, outcome, base, [system.value for system in systems])
    return {key: value for key, value in row.items() if key not in ("optimizer_bytes", "seconds")}


def _train(
    folder: Path, fault: str | None, size: Size, say: Callable[[str], None]
) -> tuple[dict[Stage, StageOutcome], TrialResult]:
    """Returns the outcomes of both stages with one fault, and the base model's figures."""
    run = runs.embedded_run(
        folder / "run", runs.TRUTH, per_system=size.per_system, samples=size.samples
    )
    decay = {"weight_decay": WEIGHT_DECAY}
    sections = {
        "partition": {"theta": 0.9},
        "train-sft": {**runs.SFT, **decay, "learning_rate": 5e-3, "max_steps": size.sft_steps},
        "train-rl": {**runs.RL, **decay, "learning_rate": 1e-3, **(size.rl or {})},
    }
    name = fault if fault in CELLS else PAPER
    own = {name: CELLS[name]} if name in CELLS else {}
    asked = Asked(run, size.options("both"), sections, (PAPER, RANDOM), own)
    grid = open_grid(run, asked.written(folder))
    trainer = Trainer(grid)
    base = trainer.measure_base()

    def heard(trial: Trial, result: TrialResult) -> None:
        kind = "search" if trial.search else f"seed {trial.seed}"
        say(f"  {fault or FAITHFUL}, {trial.stage} {kind}, rate {trial.rate:g}")

    with _switched_on(fault, folder):
        limits = Limits(size.seeds, size.max_rates)
        pool = InProcess(trainer.run)
        outcomes = run_cells(grid, [grid.cell(name)], limits, pool, 1, heard)
    return outcomes[name], base


def _switched_on(fault: str | None, folder: Path) -> AbstractContextManager[None]:
    if fault == "frozen-decay":
        return faults.frozen_decay(folder)
    if fault == "attended-padding":
        return faults.attended_padding()
    return _by_position(folder) if fault == "by-position" else nullcontext()


@contextmanager
def _by_position(folder: Path) -> Iterator[None]:
    """Trains with masks that were made for a model without `o_proj` and are read with it."""

    def start(*args: Any, **kwargs: Any) -> Start:
        found = find_start(*args, **kwargs)
        if found.mask is None:
            raise AssertionError("a cell without a mask cannot be misread")
        shapes = read_shapes(found.adapter / ADAPTER_WEIGHTS)
        # `o_proj` maps the hidden size to itself, as `q_proj` does in this model.
        size = sum(
            rows * columns
            for name, (rows, columns) in shapes.items()
            if "layers.0." in name and ".q_proj." in name
        )
        target = folder / "misread" / found.mask.parent.name
        return Start(found.adapter, faults.misread(found.mask, target, "o_proj", size))

    with faults.replaced(train, "find_start", start):
        yield
