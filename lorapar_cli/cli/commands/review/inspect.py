"""`lorapar inspect`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorapar_cli.cli.console import print_json, stdout
from lorapar_cli.cli.options import JsonOption
from lorapar_cli.names import Region
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.partition import RegionRow

if TYPE_CHECKING:
    from lorapar_cli.tools.inspect_file import MaskReport, SystemReport

_WIDTH = 80
_REGIONS = (Region.S1_ONLY, Region.S2_ONLY, Region.SHARED, Region.UNSELECTED)


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            help="Run directory, stage folder, adapter of PEFT, model, or a file that a command wrote."
        ),
    ],
    tensor: Annotated[
        str | None,
        typer.Option(help="Show one tensor: its name, or a part that only one name has."),
    ] = None,
    top: Annotated[
        int, typer.Option(min=0, max=10_000, help="Number of most important elements to list.")
    ] = 10,
    as_json: JsonOption = False,
) -> None:
    """Show what a file or folder holds: importance, mask, adapter, stage, records, results, run."""
    from lorapar_cli.tools.inspecting.artifact import inspect_artifact

    report = inspect_artifact(path, tensor=tensor, top=top)
    if as_json:
        print_json(report)
        return
    console = stdout(_WIDTH)
    if report["kind"] not in ("mask", "importance"):
        from lorapar_cli.cli.artifact_tables import artifact_tables

        for renderable in artifact_tables(report):
            console.print(renderable)
        return
    console.print(
        f"{report['kind']} of {counted(report['matrices'], 'matrix', 'matrices')}: `{report['path']}`",
        markup=False,
    )
    for key, value in sorted(report["metadata"].items()):
        console.print(f"  {key}: {value}", markup=False)
    if "tensor" in report:
        console.print(f"tensor {report['tensor']} {report['shape']}", markup=False)
    for table in _importance(report["systems"]) if "systems" in report else [_mask(report)]:
        console.print(table)


def _mask(report: "MaskReport") -> Any:
    from rich.table import Table

    table = Table(title="elements", show_footer=True)
    feet = ("all", *_counts(report))
    heads = ("module", "elements", *_REGIONS, "SFT", "RL")
    for head, foot in zip(heads, feet, strict=True):
        table.add_column(head, foot, justify="left" if head == "module" else "right")
    for kind, row in report["by_kind"].items():
        table.add_row(kind, *_counts(row))
    return table


def _counts(row: RegionRow) -> list[str]:
    numbers = [row["elements"], *(row["regions"][region] for region in _REGIONS)]
    return [f"{number:,}" for number in (*numbers, row["active_sft"], row["active_rl"])]


def _importance(systems: "Mapping[str, SystemReport]") -> list[Any]:
    from rich.table import Table

    totals = Table(title="importance")
    for head in ("", "elements", "zeros", "not finite", "total", "mean", "largest"):
        totals.add_column(head, justify="right" if head else "left")
    shares = Table(title="share of the total, %")
    shares.add_column("module")
    for system, found in systems.items():
        shares.add_column(system, justify="right")
        counts = (found["elements"], found["zeros"], found["not_finite"])
        figures = (found["total"], found["mean"], found["largest"])
        totals.add_row(
            system, *(f"{count:,}" for count in counts), *(f"{figure:.4g}" for figure in figures)
        )
    for kind in next(iter(systems.values()))["share_by_kind"]:
        cells = (f"{100 * found['share_by_kind'][kind]:.2f}" for found in systems.values())
        shares.add_row(kind, *cells)
    return [totals, shares, *_tops(systems)]


def _tops(systems: "Mapping[str, SystemReport]") -> list[Any]:
    from rich.table import Table

    tables = []
    for system, found in systems.items():
        if not found["top"]:
            continue
        table = Table(title=f"top elements of {system}")
        for head in ("importance", "matrix", "index"):
            table.add_column(head, justify="right" if head == "importance" else "left")
        for element in found["top"]:
            # The parts that all names of PEFT have in common would break the line.
            name = element["name"].removeprefix("base_model.model.").removesuffix(".weight")
            table.add_row(f"{element['importance']:.4g}", name, str(element["index"]))
        tables.append(table)
    return tables
