"""`lorapar partition`."""

from pathlib import Path
from typing import Annotated

import typer

from lorapar_cli.cli.console import progress_display, show_outcome
from lorapar_cli.cli.options import RUN_DIR, JsonOption, OutOption, RunDirOption, given_options
from lorapar_cli.names import Region
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.rundir import RunDir


def partition(
    ctx: typer.Context,
    theta: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of each system's importance to keep, above 0; paper: theta."
        ),
    ] = 0.9,
    alpha: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of shared elements active in SFT; paper: alpha."),
    ] = 1.0,
    beta: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of shared elements active in RL; paper: beta."),
    ] = 1.0,
    importance: Annotated[
        Path | None,
        typer.Option(
            help="importance.safetensors to cut. Default: the run's own.", rich_help_panel="Where"
        ),
    ] = None,
    out: OutOption = None,
    run_dir: RunDirOption = RUN_DIR,
    as_json: JsonOption = False,
) -> Outcome:
    """Cut the importance into regions and write the mask of active elements."""
    from lorapar_cli.stages import partition as stage

    with progress_display() as progress:
        outcome = stage.partition(
            RunDir(run_dir),
            theta=theta,
            alpha=alpha,
            beta=beta,
            importance=importance,
            out=out,
            given=given_options(ctx),
            progress=progress,
        )
    show_outcome(outcome, as_json, _render, "lorapar train-sft")
    return outcome


_REGIONS = (Region.S1_ONLY, Region.S2_ONLY, Region.SHARED, Region.UNSELECTED)


def _render(manifest: Manifest) -> list:
    from rich.table import Table

    table = Table(title="elements by region, % of the row", show_footer=True)
    total = manifest.counts
    whole = _cells(total)
    heads = ("module", "matrix", "elements", *_REGIONS, "SFT", "RL")
    for head, foot in zip(heads, ("all", "", *whole), strict=True):
        table.add_column(head, foot, justify="left" if head in heads[:2] else "right")
    for row in total["by_kind"]:
        table.add_row(row["module"], row["matrix"], *_cells(row))
    return [table, f"Jaccard of the two top sets: {manifest.metrics['jaccard']:.3f}"]


def _cells(row: dict) -> list[str]:
    size = row["elements"]
    parts = [row["regions"][region] for region in _REGIONS]
    return [f"{size:,}"] + [
        f"{100 * part / size:.2f}" for part in (*parts, row["active_sft"], row["active_rl"])
    ]
