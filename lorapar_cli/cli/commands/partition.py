"""`lorapar partition`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lorapar_cli.cli.console import progress_display, show_outcome, stdout
from lorapar_cli.cli.options import (
    RUN_DIR,
    JsonOption,
    OutOption,
    RunDirOption,
    SeedOption,
    given_options,
    split_list,
)
from lorapar_cli.errors import UsageError
from lorapar_cli.names import Region
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.run_dir import RunDir

_REGIONS = (Region.S1_ONLY, Region.S2_ONLY, Region.SHARED, Region.UNSELECTED)


class Select(StrEnum):
    """What a system's top set is."""

    IMPORTANCE = "importance"
    RANDOM = "random"
    TOP = "top"


class Scope(StrEnum):
    """What is cut together."""

    GLOBAL = "global"
    MODULE = "module"


def partition(
    ctx: typer.Context,
    theta: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of each system's importance to keep, above 0; paper: theta."
        ),
    ] = 0.9,
    theta_s1: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="The same for System 1 alone. Default: theta."),
    ] = None,
    theta_s2: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="The same for System 2 alone. Default: theta."),
    ] = None,
    alpha: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of shared elements active in SFT; paper: alpha."),
    ] = 1.0,
    beta: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of shared elements active in RL; paper: beta."),
    ] = 1.0,
    select: Annotated[
        Select,
        typer.Option(
            help="importance: a share theta of it; random: as many elements, drawn by seed; "
            "top: the fraction theta of the elements."
        ),
    ] = Select.IMPORTANCE,
    scope: Annotated[
        Scope, typer.Option(help="One cut for all elements, or one a matrix (module).")
    ] = Scope.GLOBAL,
    budget: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Elements in the two sets together, at most; decides theta, to six decimals.",
        ),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            help="Thetas, comma-separated: print sizes and Jaccard for each and write nothing."
        ),
    ] = None,
    plot: Annotated[
        bool,
        typer.Option(
            "--plot", help="Draw scatter, heat map and curve to `plots/`; needs `lorapar[plot]`."
        ),
    ] = False,
    importance: Annotated[
        Path | None,
        typer.Option(
            help="importance.safetensors to cut. Default: the run's own.", rich_help_panel="Where"
        ),
    ] = None,
    out: OutOption = None,
    run_dir: RunDirOption = RUN_DIR,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> Outcome | None:
    """Cut the importance into regions and write the mask of active elements."""
    from lorapar_cli.partition import partition as stage

    if sweep is not None:
        thetas = _thetas(sweep)
        _refuse_beside_sweep(given_options(ctx))
        rows = stage.compare_thetas(RunDir(run_dir), thetas, importance=importance)
        print(json.dumps(rows)) if as_json else stdout().print(_sweep_table(rows))
        return None
    options = stage.PartitionOptions(
        theta=theta,
        theta_s1=theta_s1,
        theta_s2=theta_s2,
        alpha=alpha,
        beta=beta,
        select=select.value,
        scope=scope.value,
        budget=budget,
        seed=seed,
        plot=plot,
    )
    with progress_display() as progress:
        outcome = stage.partition(
            RunDir(run_dir),
            options,
            importance=importance,
            out=out,
            given=given_options(ctx),
            progress=progress,
        )
    show_outcome(outcome, as_json, _render, "lorapar train-sft")
    return outcome


def _refuse_beside_sweep(given: list[str]) -> None:
    """Refuses options that a sweep would not heed."""
    ignored = [name for name in given if name not in ("sweep", "importance", "run_dir", "as_json")]
    if ignored:
        options = ", ".join(f"`--{name.replace('_', '-')}`" for name in ignored)
        raise UsageError(
            "`--sweep` tries thetas of a global cut by importance and writes nothing",
            f"{options} beside it",
            "leave out one or the other",
        )


def _thetas(text: str) -> list[float]:
    thetas = []
    for part in split_list(text, "--sweep"):
        try:
            thetas.append(float(part))
        except ValueError as cause:
            raise UsageError("`--sweep` takes numbers, comma-separated", repr(part)) from cause
    return thetas


def _sweep_table(rows: list[dict]):
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


def _render(manifest: Manifest) -> list:
    counts, metrics = manifest.counts, manifest.metrics
    kinds = _table("elements by module kind and matrix, % of the row", ("module", "matrix"), counts)
    for row in counts["by_kind"]:
        kinds.add_row(row["module"], row["matrix"], *_cells(row))
    layers = _table("elements by layer, % of the row", ("layer",), counts)
    for row in counts["by_layer"]:
        layers.add_row(row["layer"], *_cells(row))
    lines = [f"Jaccard of the two top sets: {metrics['jaccard']:.3f}"]
    if "theta_of_budget" in metrics:
        lines.append(f"theta for this budget: {metrics['theta_of_budget']:g}")
    return [kinds, layers, *lines]


def _table(title: str, heads: tuple[str, ...], total: dict):
    from rich.table import Table

    table = Table(title=title, show_footer=True)
    feet = ("all", *[""] * (len(heads) - 1), *_cells(total))
    columns = (*heads, "elements", *_REGIONS, "SFT", "RL")
    for column, foot in zip(columns, feet, strict=True):
        table.add_column(column, foot, justify="left" if column in heads else "right")
    return table


def _cells(row: dict) -> list[str]:
    size = row["elements"]
    parts = [row["regions"][region] for region in _REGIONS]
    return [f"{size:,}"] + [
        f"{100 * part / size:.2f}" for part in (*parts, row["active_sft"], row["active_rl"])
    ]
