"""`plot`: curves of the training stages, finished or running."""

from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.plots.rate_curve import draw_rate_curve
from lorapar_cli.plots.training_curves import draw_curves
from lorapar_cli.stage_records.training import RateSearch, TrainingRecord
from lorapar_cli.store.atomic import building_folder
from lorapar_cli.store.disk.regular_files import exists
from lorapar_cli.store.manifest import read_manifest
from lorapar_cli.store.records import read_jsonl
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.verify import check_written

TRAINING = (Stage.TRAIN_SFT, Stage.TRAIN_RL)


def plot(run_dir: RunDir, *, out: Path | None = None) -> list[Path]:
    """Draws `<stage>.png` for each training stage that has metrics; returns the files.

    Where a stage searched for its learning rate, also `<stage>-learning-rates.png`.

    Where a finished run is being replaced (`--overwrite`), the new run is drawn.

    Args:
        out: Folder for the pictures; None for the run directory.

    Raises:
        LoraparError: No training stage has metrics, or those of a finished one are not what it
            wrote.
    """
    drawn = []
    for stage in TRAINING:
        folder, title = out or run_dir.root, f"{stage}, {run_dir.root}"
        place = _find_run(run_dir.folder(stage))
        if place is None:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{stage}.png"
        draw_curves(_read_lines(place / Artifact.METRICS), title, path)
        drawn.append(path)
        if exists(place / Artifact.LEARNING_RATES):
            rates = _read_lines(place / Artifact.LEARNING_RATES)
            path = folder / f"{stage}-{Artifact.LEARNING_RATES.removesuffix('.jsonl')}.png"
            draw_rate_curve(rates, _search_of(place), title, path)
            drawn.append(path)
    if not drawn:
        raise LoraparError(
            f"no training run in `{run_dir.root}` has metrics",
            hint="run `lorapar train-sft` or `lorapar train-rl` first",
        )
    return drawn


def _find_run(folder: Path) -> Path | None:
    """Returns the folder of a running or finished training that has metrics, None without any."""
    for place in (building_folder(folder), folder):
        path = place / Artifact.METRICS
        if exists(path) and path.stat().st_size:
            return place
    return None


def _read_lines(path: Path) -> list[dict[str, Any]]:
    check_written(path)
    return [line for _, line in read_jsonl(path)]


def _search_of(folder: Path) -> RateSearch | None:
    """Returns what the search of a finished training found, None of one that runs."""
    manifest = read_manifest(folder)
    return None if manifest is None else manifest.record(TrainingRecord).metrics.get("rate_search")
