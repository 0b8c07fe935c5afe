"""The paper's tables on the embedded model: `lorapar sweep` runs them, this keeps what they say."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evidence.studies import Study, Unit
from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.regular_files import read_json
from lorapar_cli.store.manifest import sha256_file

GRIDS = Path(__file__).parents[1] / "sample_configs" / "paper"
TABLES = (*(f"table{number}" for number in range(1, 8)), "figure4")
_KEPT = ("title", "seeds", "layout", "note", "table")
_OF_CELLS = ("labels", "seed", "figures")


def tables_study(
    work: Path, seeds: int, jobs: int, say: Callable[[str], None], grids: Path = GRIDS
) -> Study:
    """Returns the study; a unit for each table, which continues as the sweep does.

    Args:
        grids: Folder with a grid file for each table.
    """

    def unit(name: str) -> Unit:
        grid = grids / f"{name}.yaml"

        def measure(folder: Path) -> Mapping[str, Any]:
            if not grid.is_file():
                raise LoraparError(f"`{grid}` does not exist")
            say(f"  `{grid.name}`, by `lorapar sweep`; its progress is below")
            sweep(grid, folder.parent / "sweep", seeds, jobs)
            found = read_json(folder.parent / "sweep" / f"{name}-embedded" / "results.json")
            by_seed = [{key: row[key] for key in _OF_CELLS} for row in found["cells"]]
            return {**{key: found[key] for key in _KEPT}, "by_seed": by_seed}

        digest = sha256_file(grid) if grid.is_file() else None
        return Unit(name, {"seeds": seeds, "grid": digest}, measure)

    return Study(
        "tables",
        "The paper's tables on the embedded model",
        "python -m evidence tables",
        list(range(seeds)),
        [unit(name) for name in TABLES],
    )


def sweep(grid: Path, out: Path, seeds: int, jobs: int) -> None:
    """Runs one grid to its end.

    Raises:
        LoraparError: A cell has failed, or the command does not know the grid.
    """
    command = [sys.executable, "-m", "lorapar_cli", "sweep", str(grid), "--embedded"]
    command += ["--out", str(out), "--seeds", str(seeds), "--jobs", str(jobs)]
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode:
        raise LoraparError(
            f"`lorapar sweep {grid.name}` ended with {done.returncode}",
            hint="its message is above; the same command goes on",
        )
