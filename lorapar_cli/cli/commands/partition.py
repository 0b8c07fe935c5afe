"""`lorapar partition`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorapar_cli.cli.console import print_json, progress_display, show_outcome, stdout
from lorapar_cli.cli.options import JsonOption, RunDirOption, given_options, next_on, split_list
from lorapar_cli.cli.stage_command import stage_command
from lorapar_cli.errors import UsageError
from lorapar_cli.names import Region
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.partition import PartitionRecord, RegionRow
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir

if TYPE_CHECKING:
    from lorapar_cli.partition.partition import ThetaRow

_REGIONS = (Region.S1_ONLY, Region.S2_ONLY, Region.SHARED, Region.UNSELECTED)


@stage_command(PartitionOptions)
def partition(
    ctx: typer.Context,
    options: PartitionOptions,
    sweep: Annotated[
        str | None,
        typer.Option(
            help="Thetas, comma-separated: print sizes and Jaccard of each and write nothing."
        ),
    ] = None,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    as_json: JsonOption = False,
) -> Outcome | None:
    """Cut the importance into regions and write the mask of active elements."""
    from lorapar_cli.partition import partition as stage

    given = given_options(ctx)
    if sweep is not None:
        thetas = _thetas(sweep)
        _refuse_with_sweep(given)
        rows = stage.compare_thetas(RunDir(run_dir), thetas, importance=options.importance)
        print_json(rows) if as_json else stdout().print(_sweep_table(rows))
        return None
    with progress_display() as progress:
        outcome = stage.partition(RunDir(run_dir), options, given=given, progress=progress)
    show_outcome(outcome, as_json, _render, next_on(run_dir, "lorapar train-sft"))
    return outcome


def _refuse_with_sweep(given: list[str]) -> None:
    """Refuses options that a sweep would ignore."""
    ignored = [name for name in given if name not in ("sweep", "importance", "run_dir", "as_json")]
    if ignored:
        options = ", ".join(f"`--{name.replace('_', '-')}`" for name in ignored)
        raise UsageError(
            "`--sweep` tries thetas of a global cut by importance and writes nothing",
            f"{options} with it",
            "omit one or the other",
        )


def _thetas(text: str) -> list[float]:
    thetas = []
    for part in split_list(text, "--sweep"):
        try:
            thetas.append(float(part))
        except ValueError as cause:
            raise UsageError("`--sweep` takes numbers, comma-separated", repr(part)) from cause
        if not 0 < thetas[-1] <= 1:
            raise UsageError(f"each theta of `--sweep` must be above 0 and at most 1, not {part}")
    return thetas


def _sweep_table(rows: "list[ThetaRow]") -> Any:
    from rich.table import Table

    table = Table(title="by theta: elements, and % of all")
    for head in ("theta", "S1 %", "S2 %", "either %", *_REGIONS, "Jaccard"):
        table.add_column(head, justify="right")
    for row in rows:
        shares = (row["share_s1"], row["share_s2"], row["share_selected"])
        table.add_row(
            f"{row['theta']:g}",
            *(f"{100 * share:.2f}" for share in shares),
            *(f"{row['regions'][region]:,}" for region in _REGIONS),
            f"{row['jaccard']:.3f}",
        )
    return table


def _render(manifest: Manifest) -> list[Any]:
    record = manifest.record(PartitionRecord)
    counts, metrics = record.counts, record.metrics
    kinds = _table("elements by module kind and matrix, % of the row", ("module", "matrix"), counts)
    for row in counts["by_kind"]:
        kinds.add_row(row["module"], row["matrix"], *_cells(row))
    layers = _table("elements by layer, % of the row", ("layer",), counts)
    for layer in counts["by_layer"]:
        layers.add_row(layer["layer"], *_cells(layer))
    lines = [f"top set of {set_size}" for set_size in _set_sizes(counts)]
    lines.append(f"Jaccard of the two top sets: {metrics['jaccard']:.3f}")
    if "theta_of_budget" in metrics:
        lines.append(f"theta for this budget: {metrics['theta_of_budget']:g}")
    return [kinds, layers, *lines]


def _set_sizes(counts: RegionRow) -> list[str]:
    """Returns each system's number of elements, exact and as a share of all."""
    regions = counts["regions"]
    lines = []
    for system, own in (("System 1", Region.S1_ONLY), ("System 2", Region.S2_ONLY)):
        size = regions[own] + regions[Region.SHARED]
        lines.append(
            f"{system}: {counted(size, 'element')}, {100 * size / counts['elements']:.4g} % of all"
        )
    return lines


def _table(title: str, heads: tuple[str, ...], total: RegionRow) -> Any:
    from rich.table import Table

    table = Table(title=title, show_footer=True)
    feet = ("all", *[""] * (len(heads) - 1), *_cells(total))
    columns = (*heads, "elements", *_REGIONS, "SFT", "RL")
    for column, foot in zip(columns, feet, strict=True):
        table.add_column(column, foot, justify="left" if column in heads else "right")
    return table


def _cells(row: RegionRow) -> list[str]:
    size = row["elements"]
    parts = [row["regions"][region] for region in _REGIONS]
    return [f"{size:,}"] + [
        f"{100 * part / size:.2f}" for part in (*parts, row["active_sft"], row["active_rl"])
    ]
