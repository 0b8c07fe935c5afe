"""What the training of a cell starts from: an adapter, and the elements of it that are trained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lorapar_cli.comparison.cells import PAPER, Cell
from lorapar_cli.comparison.grid import Grid
from lorapar_cli.comparison.low_rank import nearest_rank, write_extended, write_low_rank
from lorapar_cli.comparison.naming import digest_of, write_dependencies
from lorapar_cli.events import Progress, silent
from lorapar_cli.names import ADAPTER_WEIGHTS, Artifact, Region, Stage
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.scoring.score import score
from lorapar_cli.stage_records.partition import PartitionRecord
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.manifest import Manifest, sha256_file


@dataclass(frozen=True)
class Start:
    """What one training starts from.

    Attributes:
        adapter: Folder of the adapter.
        mask: Mask file; None trains every element.
    """

    adapter: Path
    mask: Path | None


def scored_folder(grid: Grid, cell: Cell, progress: Progress = silent) -> Path:
    """Returns the folder of a cell's adapter and importance, scored if no cell has needed it yet."""
    own = grid.run_dir.folder(Stage.SCORE)
    if not cell.settings(Stage.SCORE):
        return own
    options = grid.score_options(cell)
    template = grid.run_dir.template(Stage.SCORE)
    depends = grid.depends(score=options.settings(template=template))
    folder = grid.named_folder("scores", depends)
    if template is not None:
        path = grid.root / "templates" / f"{digest_of(template)}.jinja"
        if not path.is_file():
            with atomic_file(path) as file:
                file.write(template)
        options = replace(options, template=path)
    score(
        grid.run_dir,
        replace(options, out=folder, trust_remote_code=grid.options.trust_remote_code),
        progress=progress,
    )
    write_dependencies(folder, depends)
    return folder


def selected(grid: Grid, cell: Cell, seed: int) -> tuple[Path, Manifest]:
    """Returns the mask of a cell and its manifest, cut if no training has needed it yet.

    Args:
        seed: Of the training: each draws random sets of its own.
    """
    scored = scored_folder(grid, cell)
    importance = scored / Artifact.IMPORTANCE
    options = grid.partition_options(cell)
    if cell.size_of_paper:
        options = _with_sizes_of_paper(grid, options)
    options = replace(options, seed=seed if options.select == "random" else 0)
    digest = digest_of([options.settings(), sha256_file(importance)])
    outcome = partition(
        grid.run_dir,
        replace(options, importance=importance, out=grid.root / "partitions" / digest),
    )
    return outcome.folder / Artifact.MASK, outcome.manifest


def _with_sizes_of_paper(grid: Grid, options: PartitionOptions) -> PartitionOptions:
    """Returns the options with each system's set as large as that of `paper`."""
    regions = selected(grid, Cell(PAPER), 0)[1].record(PartitionRecord).counts["regions"]
    own = (regions[Region.S1_ONLY], regions[Region.S2_ONLY])
    first, second = (str(count + regions[Region.SHARED]) for count in own)
    return replace(
        options, budget=None, theta_s1=None, theta_s2=None, budget_s1=first, budget_s2=second
    )


def active_counts(grid: Grid, cell: Cell) -> Mapping[Stage, int]:
    """Returns training stage -> number of elements that a cell's partition makes active."""
    counts = selected(grid, cell, grid.search_seed)[1].record(PartitionRecord).counts
    return {Stage.TRAIN_SFT: counts["active_sft"], Stage.TRAIN_RL: counts["active_rl"]}


def rank_of(grid: Grid, cell: Cell, stage: Stage) -> int:
    """Returns the rank of a cell that trains a plain LoRA adapter.

    Its number of elements is the nearest to that of `paper` in the stage; in both stages, to that
    of the first.
    """
    if cell.rank is not None:
        return cell.rank
    first = grid.stages[0]
    adapter = grid.run_dir.folder(Stage.SCORE) / Artifact.ADAPTER
    return nearest_rank(adapter, active_counts(grid, Cell(PAPER))[first])


def find_start(grid: Grid, cell: Cell, stage: Stage, seed: int, trained: Path | None) -> Start:
    """Returns what a cell's training starts from, made if no training has needed it yet.

    Args:
        trained: Adapter of the cell's own SFT with the same seed; None where the stage is the first
            one that is compared.
    """
    after_sft = trained
    if after_sft is None and stage is Stage.TRAIN_RL:
        after_sft = grid.run_dir.folder(Stage.TRAIN_SFT) / Artifact.ADAPTER
    if cell.trains == "rank":
        return _start_of_rank(grid, cell, stage, trained, after_sft)
    adapter = after_sft or scored_folder(grid, cell) / Artifact.ADAPTER
    if cell.trains == "all":
        return Start(adapter, None)
    return Start(adapter, selected(grid, cell, seed)[0])


def _start_of_rank(
    grid: Grid, cell: Cell, stage: Stage, trained: Path | None, after_sft: Path | None
) -> Start:
    """Returns a plain LoRA adapter, or the one after SFT with further ranks that alone are trained."""
    if trained is not None:
        return Start(trained, None)
    rank, seed = rank_of(grid, cell, stage), grid.score_options(cell).seed
    adapter = after_sft or scored_folder(grid, cell) / Artifact.ADAPTER
    digest = digest_of([sha256_file(adapter / ADAPTER_WEIGHTS), stage, rank, seed])
    target = grid.root / "adapters" / digest
    if stage is Stage.TRAIN_SFT:
        if not target.is_dir():
            write_low_rank(adapter, rank, seed, target)
        return Start(target / Artifact.ADAPTER, None)
    if not target.is_dir():
        write_extended(adapter, rank, seed, target)
    return Start(target / Artifact.ADAPTER, target / Artifact.MASK)
