"""Runs one step of a sweep through its stage, in a folder that is shared by all cells."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lorapar_cli.comparison.naming import write_dependencies
from lorapar_cli.comparison.processes import Job
from lorapar_cli.comparison.sweep.peft_training import train_peft
from lorapar_cli.comparison.sweep.steps import ADAPTER, START, TRAIN_PEFT, Step
from lorapar_cli.evaluation.evaluate import evaluate
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.labelling.classify import classify
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.models.base_model import free_memory
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score import score
from lorapar_cli.store.manifest import Manifest, read_manifest
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.options import RlOptions, SftOptions, TrainingOptions
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft

RESULT = "result"


@dataclass(frozen=True)
class SharedRun(RunDir):
    """A run directory whose stages lie in the folders of steps.

    Attributes:
        folders: Stage -> folder; a stage that is not among them has not run.
    """

    folders: Mapping[str, Path] = field(default_factory=dict)

    def folder(self, stage: Stage | str) -> Path:
        """Returns the stage's folder, finished or not."""
        return self.folders.get(str(stage), self.root / f"no-{stage}")


def manifest_of(root: Path, step: Step) -> Manifest | None:
    """Returns the manifest of a finished step, None where it has not finished."""
    folder = root / step.key
    return read_manifest(folder / RESULT if step.kind == Stage.EVAL else folder)


def to_job(step: Step) -> Job:
    """Returns a step as a JSON object."""
    return asdict(step)


def from_job(job: Job) -> Step:
    """Returns the step of a JSON object."""
    return Step(**job)


def run_step(root: Path, step: Step) -> None:
    """Runs a step whose needs have finished; one that has finished itself is left as it is.

    Args:
        root: Folder of the steps' folders.
    """
    write_dependencies(root / step.key, step.depends)
    if manifest_of(root, step) is not None:
        return
    folders = {name: root / key for name, key in step.needs.items()}
    own = Stage.TRAIN_SFT if step.kind == TRAIN_PEFT else Stage(step.kind)
    run_dir = SharedRun(root, {**folders, own: root / step.key})
    options = step.options()
    if isinstance(options, ClassifyOptions):
        classify(run_dir, options)
    elif isinstance(options, ScoreOptions):
        score(run_dir, options)
    elif isinstance(options, PartitionOptions):
        partition(run_dir, options)
    elif isinstance(options, EvalOptions):
        evaluate(run_dir, replace(options, adapter=_evaluated(folders)))
    elif isinstance(options, TrainingOptions):
        _train(run_dir, step, options, folders)
    else:
        raise AssertionError(f"no stage runs with {type(options).__name__}")
    free_memory()


def _evaluated(folders: Mapping[str, Path]) -> tuple[str, ...]:
    if ADAPTER not in folders:
        return ("base",)
    return (f"trained={folders[ADAPTER] / Artifact.ADAPTER}",)


def _train(
    run_dir: SharedRun, step: Step, options: TrainingOptions, folders: Mapping[str, Path]
) -> None:
    started = folders[START] / Artifact.ADAPTER if START in folders else None
    target = run_dir.root / step.key
    if step.kind == TRAIN_PEFT:
        if not isinstance(options, SftOptions):
            raise AssertionError("PEFT's methods are trained by SFT")
        train_peft(run_dir, options, step.method, target)
        return
    changed: dict[str, Any] = {
        "adapter": started or folders[Stage.SCORE] / Artifact.ADAPTER,
        "from_": "init",
        "mask": None if Stage.PARTITION in folders else "none",
        "overwrite": True,
    }
    options = replace(options, **changed)
    if isinstance(options, SftOptions):
        train_sft(run_dir, options)
    elif isinstance(options, RlOptions):
        train_rl(run_dir, options)
    # Only what an interrupted training goes on from; it has ended.
    shutil.rmtree(target / Artifact.CHECKPOINTS, ignore_errors=True)
