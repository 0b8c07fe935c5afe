"""One training of one cell, its name on disk and its result."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from lorapar_cli.comparison.cells import PAPER, Cell
from lorapar_cli.comparison.grid import Grid, own_files, training_settings
from lorapar_cli.comparison.starts import rank_of
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import ADAPTER_WEIGHTS, Artifact, Stage
from lorapar_cli.stage_records.mismatch import find_mismatch
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.disk.regular_files import read_json
from lorapar_cli.store.manifest import sha256_file

RESULT = "result.json"


@dataclass(frozen=True)
class Trial:
    """One training of a cell in one stage.

    Attributes:
        search: Whether it is shorter and only says how good a learning rate is.
        sft: Folder of the trial whose adapter it starts from; None where the stage is the first one
            that is compared.
    """

    cell: str
    stage: Stage
    rate: float
    seed: int
    search: bool
    sft: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the trial as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Trial":
        """Returns the trial of a JSON object."""
        return cls(**(dict(value) | {"stage": Stage(value["stage"])}))


class TrialResult(TypedDict):
    """What one training came to.

    Keys:
        lorapar: Version that trained it.
        seconds: Of the training, by the clock; of the part since the last interruption.
        total_seconds: The same with what was measured.
        diverged: Why there is no result: losses or gradients that are not finite, or no gradient.
        active, elements: Elements that were trained, and those of the adapter.
        validation: Of a search: loss (SFT) or accuracy (RL) on the validation part.
        untrained: Of a search: the same of the model that the training started from.
        losses, correct: As `measure.Measured`.
        kl, neutral_loss: As `measure.Forgetting`.
    """

    lorapar: NotRequired[str]
    seconds: float
    total_seconds: float
    diverged: NotRequired[str]
    active: NotRequired[int]
    elements: NotRequired[int]
    steps: NotRequired[int]
    validation: NotRequired[float]
    untrained: NotRequired[float]
    losses: NotRequired[dict[str, list[float]]]
    correct: NotRequired[dict[str, list[int]]]
    kl: NotRequired[float]
    neutral_loss: NotRequired[float]


def cell_folder(grid: Grid, cell: Cell, stage: Stage) -> Path:
    """Returns the folder of a cell's trials, named after everything that they depend on."""
    return grid.named_folder("cells", cell_dependencies(grid, cell, stage))


def cell_dependencies(grid: Grid, cell: Cell, stage: Stage) -> dict[str, Any]:
    """Returns everything that a cell's trials depend on, but for their own rates and seeds."""
    return grid.depends(**_dependencies(grid, cell, stage))


def _dependencies(grid: Grid, cell: Cell, stage: Stage) -> dict[str, Any]:
    found: dict[str, Any] = {
        "stage": stage,
        "trains": cell.trains,
        "score": dict(grid.score_options(cell).settings()),
        "training": training_settings(grid.training_options(cell, stage).settings()),
    }
    files = own_files(grid.training_options(cell, stage))
    found |= {what: sha256_file(path) for what, path in files.items()}
    if cell.trains == "selected":
        found["partition"] = grid.partition_options(cell).settings()
        found["size of paper"] = (
            cell.size_of_paper and grid.partition_options(Cell(PAPER)).settings()
        )
    if cell.trains == "rank":
        found["rank"] = rank_of(grid, cell, stage)
    if stage is Stage.TRAIN_RL and grid.stages[0] is Stage.TRAIN_SFT:
        found["sft"] = _dependencies(grid, cell, Stage.TRAIN_SFT)
        found["max_rates"] = grid.options.max_rates
    elif stage is Stage.TRAIN_RL:
        weights = grid.run_dir.folder(Stage.TRAIN_SFT) / Artifact.ADAPTER / ADAPTER_WEIGHTS
        found["start"] = sha256_file(weights)
    return found


def trial_folder(grid: Grid, trial: Trial) -> Path:
    """Returns the folder of a trial."""
    kind = "search" if trial.search else "rate"
    name = f"{kind}-{trial.rate:g}-seed-{trial.seed}"
    return cell_folder(grid, grid.cell(trial.cell), trial.stage) / name


def read_result(folder: Path) -> TrialResult | None:
    """Returns the result of a finished trial, None where it has not finished.

    Raises:
        LoraparError: The file is damaged.
    """
    path = folder / RESULT
    if not path.exists():
        return None
    content = read_json(path)
    if mismatch := find_mismatch(content, TrialResult):
        raise LoraparError(
            f"`{path}` is damaged", mismatch, "remove the file; the training is repeated"
        )
    return cast(TrialResult, content)


def write_result(folder: Path, result: TrialResult) -> None:
    """Publishes the result of a trial; from then on it is not repeated."""
    with atomic_file(folder / RESULT) as file:
        json.dump(result, file)
        file.write("\n")
