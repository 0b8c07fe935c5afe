"""`plot`: curves of the training stages, finished or running."""

from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.plots.training_curves import draw_curves
from lorapar_cli.store.atomic import building_folder
from lorapar_cli.store.disk.regular_files import exists
from lorapar_cli.store.records import read_jsonl
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.verify import check_written

TRAINING = (Stage.TRAIN_SFT, Stage.TRAIN_RL)


def plot(run_dir: RunDir, *, out: Path | None = None) -> list[Path]:
    """Draws `<stage>.png` for each training stage that has metrics; returns the files.

    Where a finished run is being replaced (`--overwrite`), the new run is drawn.

    Args:
        out: Folder for the pictures; None for the run directory.

    Raises:
        LoraparError: No training stage has metrics, or those of a finished one are not what it
            wrote.
    """
    drawn = []
    for stage in TRAINING:
        metrics = _metrics(run_dir.folder(stage))
        if metrics:
            folder = out or run_dir.root
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{stage}.png"
            draw_curves(metrics, f"{stage}, {run_dir.root}", path)
            drawn.append(path)
    if not drawn:
        raise LoraparError(
            f"no training run in `{run_dir.root}` has metrics",
            hint="run `lorapar train-sft` or `lorapar train-rl` first",
        )
    return drawn


def _metrics(folder: Path) -> list[dict[str, Any]]:
    """Returns the lines of a running or finished training, none where there is no training."""
    for place in (building_folder(folder), folder):
        path = place / Artifact.METRICS
        if exists(path) and path.stat().st_size:
            check_written(path)
            return [line for _, line in read_jsonl(path)]
    return []
