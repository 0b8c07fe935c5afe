"""`lorapar inspect`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lorapar_cli.cli.console import stdout
from lorapar_cli.names import Region

_REGIONS = (Region.S1_ONLY, Region.S2_ONLY, Region.SHARED, Region.UNSELECTED)


def inspect(
    path: Annotated[
        Path, typer.Argument(help="importance.safetensors, mask.safetensors, or their folder.")
    ],
    tensor: Annotated[
        str | None,
        typer.Option(help="Show one matrix: its name, or a part that only one name has."),
    ] = None,
    top: Annotated[
        int, typer.Option(min=0, help="Number of most important elements to list.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show what an importance or mask file holds: header, regions, top elements, one tensor."""
    from lorapar_cli.tools.inspect_file import inspect_file

    report = inspect_file(path, tensor=tensor, top=top)
    if as_json:
        print(json.dumps(report))
        return
    console = stdout()
    console.print(
        f"{report['kind']} of {report['matrices']} matrices: `{report['path']}`", markup=False
    )
    for key, value in sorted(report["metadata"].items()):
        console.print(f"  {key}: {value}", markup=False)
    if "tensor" in report:
        console.print(f"tensor {report['tensor']} {report['shape']}", markup=False)
    for renderable in _mask(report) if report["kind"] == "mask" else _importance(report["systems"]):
        console.print(renderable)


def _mask(report: dict[str, Any]) -> list:
    from rich.table import Table

    table = Table(title="elements", show_footer=True)
    feet = ("all", *_counts(report))
    heads = ("module", "elements", *_REGIONS, "SFT", "RL")
    for head, foot in zip(heads, feet, strict=True):
        table.add_column(head, foot, justify="left" if head == "module" else "right")
    for kind, row in report["by_kind"].items():
        table.add_row(kind, *_counts(row))
    return [table]


def _counts(row: dict[str, Any]) -> list[str]:
    numbers = [row["elements"], *(row["regions"][region] for region in _REGIONS)]
    return [f"{number:,}" for number in (*numbers, row["active_sft"], row["active_rl"])]


def _importance(systems: dict[str, dict[str, Any]]) -> list:
    from rich.table import Table

    totals = Table(title="importance")
    for head in ("", "elements", "zeros", "not finite", "total", "mean", "largest"):
        totals.add_column(head, justify="right" if head else "left")
    shares = Table(title="share of the total, %")
    shares.add_column("module")
    for system, found in systems.items():
        shares.add_column(system, justify="right")
        figures = (f"{found[key]:.4g}" for key in ("total", "mean", "largest"))
        counts = (f"{found[key]:,}" for key in ("elements", "zeros", "not_finite"))
        totals.add_row(system, *counts, *figures)
    for kind in next(iter(systems.values()))["share_by_kind"]:
        cells = (f"{100 * found['share_by_kind'][kind]:.2f}" for found in systems.values())
        shares.add_row(kind, *cells)
    tops = []
    for system, found in systems.items():
        if found["top"]:
            table = Table(title=f"top elements of {system}")
            for head in ("importance", "matrix", "index"):
                table.add_column(head, justify="right" if head == "importance" else "left")
            for item in found["top"]:
                table.add_row(f"{item['importance']:.4g}", item["name"], str(item["index"]))
            tops.append(table)
    return [totals, shares, *tops]
