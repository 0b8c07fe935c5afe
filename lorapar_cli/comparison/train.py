"""Runs one training of a cell, and measures what it made."""

import json
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorapar_cli import __version__
from lorapar_cli.comparison.cells import Cell
from lorapar_cli.comparison.grid import Grid
from lorapar_cli.comparison.measure import Bench
from lorapar_cli.comparison.naming import write_dependencies
from lorapar_cli.comparison.starts import find_start
from lorapar_cli.comparison.trials import (
    Trial,
    TrialResult,
    cell_dependencies,
    read_result,
    trial_folder,
    write_result,
)
from lorapar_cli.errors import Diverged, LearntNothing, LoraparError
from lorapar_cli.models.base_model import free_memory
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.names import Artifact, Stage, System
from lorapar_cli.stage_records.training import TrainingRecord
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.disk.regular_files import read_json
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.training.options import RlOptions, SftOptions, TrainingOptions
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft

_TRAINED = "trained"
_WRITTEN = "written.json"


class Trainer:
    """Runs the trials of a comparison in this process, one after the other."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._bench: Bench | None = None
        self._at_start: dict[tuple[Path, str], float] = {}

    @property
    def bench(self) -> Bench:
        """What models are measured with."""
        if self._bench is None:
            self._bench = Bench(self._grid)
        return self._bench

    def run(self, trial: Trial) -> TrialResult:
        """Returns the result of a trial, which is trained unless it has finished before."""
        folder = trial_folder(self._grid, trial)
        depends = cell_dependencies(self._grid, self._grid.cell(trial.cell), trial.stage)
        write_dependencies(folder.parent, depends)
        if (done := read_result(folder)) is not None:
            return done
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        try:
            options = training_options(
                self._grid, self._grid.cell(trial.cell), trial, folder / _TRAINED
            )
            outcome = self._train(trial, options)
        except (Diverged, LearntNothing) as error:
            seconds = time.monotonic() - started
            result: TrialResult = {
                "seconds": seconds,
                "total_seconds": seconds,
                "diverged": f"{error.what}" + (f", {error.found}" if error.found else ""),
            }
        else:
            result = _describe(outcome.manifest, time.monotonic() - started)
            free_memory()
            self._measure(trial, options, outcome.folder / Artifact.ADAPTER, result)
            result = _as_finite(result)
        free_memory()
        result["total_seconds"] = time.monotonic() - started
        result["lorapar"] = __version__
        write_result(folder, result)
        _remove_bulk(folder / _TRAINED, keep_adapter=not trial.search and "diverged" not in result)
        return result

    def measure_base(self) -> TrialResult:
        """Returns what is measured of the base model, once for all cells."""
        folder = self._base_folder()
        if (done := read_result(folder)) is not None:
            return done
        model = self.bench.load(None)
        written = {
            system.value: [
                [item.prompt_length, item.input_ids]
                for item in self.bench.base_completions(model, system)
            ]
            for system in System
        }
        result: TrialResult = {
            "seconds": 0.0,
            "total_seconds": 0.0,
            **self.bench.measure(model),
            **self.bench.forgetting(model, []),
        }
        del model
        free_memory()
        with atomic_file(folder / _WRITTEN) as file:
            json.dump(written, file)
        write_dependencies(folder, self._base_depends())
        write_result(folder, result)
        return result

    def _base_folder(self) -> Path:
        return self._grid.named_folder("base", self._base_depends())

    def _base_depends(self) -> dict[str, Any]:
        identity = self._grid.identity
        return {key: value for key, value in identity.items() if key != "search_share"}

    def _written(self, systems: list[System]) -> list[Encoded]:
        """Returns what the base model wrote to the prompts of these systems."""
        content = read_json(self._base_folder() / _WRITTEN)
        return [Encoded(ids, length) for system in systems for length, ids in content[system]]

    def _train(self, trial: Trial, options: TrainingOptions) -> Outcome:
        run_dir = self._grid.run_dir
        try:
            if isinstance(options, SftOptions):
                return train_sft(run_dir, options)
            if isinstance(options, RlOptions):
                return train_rl(run_dir, options)
        except (Diverged, LearntNothing):
            raise
        except LoraparError as error:
            what = f"`{trial.stage}` of cell `{trial.cell}` failed: {error.what}"
            raise type(error)(what, error.found, error.hint) from error
        raise AssertionError(f"no stage trains with {type(options).__name__}")

    def _measure(
        self, trial: Trial, options: TrainingOptions, adapter: Path, result: TrialResult
    ) -> None:
        """Adds to the result what the adapter is worth."""
        bench = self.bench
        systems = [System(options.data)] if options.data in tuple(System) else list(System)
        model = bench.load(adapter)
        if trial.search:
            result["validation"] = self._validate(model, trial.stage, systems)
            del model
            free_memory()
            result["untrained"] = self._validate_start(trial.stage, options, systems)
            return
        measured = bench.measure(model)
        result["losses"], result["correct"] = measured["losses"], measured["correct"]
        forgetting = bench.forgetting(model, self._written(systems))
        result["neutral_loss"], result["kl"] = forgetting["neutral_loss"], forgetting["kl"]

    def _validate_start(
        self, stage: Stage, options: TrainingOptions, systems: list[System]
    ) -> float:
        """Returns what the adapter is worth that a search starts from; measured once for all rates."""
        if options.adapter is None:
            raise AssertionError("a training of a comparison names its adapter")
        key = (options.adapter, options.data)
        if key not in self._at_start:
            model = self.bench.load(options.adapter)
            self._at_start[key] = self._validate(model, stage, systems)
        return self._at_start[key]

    def _validate(self, model: Any, stage: Stage, systems: list[System]) -> float:
        """Returns the loss (SFT) or accuracy (RL) on the validation records of these systems."""
        records = self.bench.validation
        if stage is Stage.TRAIN_RL:
            by_system: dict[str, Any] = records.answers(model)
        else:
            by_system = records.losses(model)
        values = [value for system in systems for value in by_system.get(system.value, [])]
        if not values:
            raise AssertionError(f"no validation record of {systems} can be judged")
        return sum(values) / len(values)


def training_options(grid: Grid, cell: Cell, trial: Trial, target: Path) -> TrainingOptions:
    """Returns the options of the stage that runs a trial."""
    sft = None if trial.sft is None else Path(trial.sft) / _TRAINED / Artifact.ADAPTER
    start = find_start(grid, cell, trial.stage, trial.seed, sft)
    options = grid.training_options(cell, trial.stage)
    share = grid.options.search_share if trial.search else 1
    if options.max_steps > 0:
        options = replace(options, max_steps=max(1, round(options.max_steps * share)))
    else:
        options = replace(options, epochs=options.epochs * share)
    return replace(
        options,
        learning_rate=trial.rate,
        seed=trial.seed,
        splits=grid.records.folder,
        adapter=start.adapter,
        mask="none" if start.mask is None else str(start.mask),
        # Says only whose chat template is used: the adapter is named.
        from_="init",
        out=target,
        overwrite=True,
        # The comparison measures on records of its own.
        forgetting=False,
        watch=None,
        trust_remote_code=grid.options.trust_remote_code,
    )


def _as_finite(result: TrialResult) -> TrialResult:
    """Returns the result, or that training diverged where its last step led to losses of no number."""
    values = [result.get("validation", 0.0), result.get("kl", 0.0), result.get("neutral_loss", 0.0)]
    values += [loss for losses in result.get("losses", {}).values() for loss in losses]
    if all(map(math.isfinite, values)):
        return result
    return {
        "seconds": result["seconds"],
        "total_seconds": result["total_seconds"],
        "diverged": "losses of the trained model are not finite",
    }


def _describe(manifest: Manifest, seconds: float) -> TrialResult:
    record = manifest.record(TrainingRecord)
    return {
        "seconds": seconds,
        "total_seconds": seconds,
        "active": record.counts["active"],
        "elements": record.counts["elements"],
        "steps": record.metrics["steps"],
    }


def _remove_bulk(trained: Path, *, keep_adapter: bool) -> None:
    """Removes checkpoints, and of a search everything: only its figure is needed."""
    if keep_adapter:
        shutil.rmtree(trained / Artifact.CHECKPOINTS, ignore_errors=True)
    elif trained.exists():
        shutil.rmtree(trained)
