"""Lays out the result of a sweep: the table in Markdown, and every cell as a line of CSV."""

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lorapar_cli.comparison.report.tables import inert
from lorapar_cli.comparison.sweep.results import CellRow, SweepResult, TableCell
from lorapar_cli.comparison.sweep.table_spec import FIGURES, FORGETTING, TableSpec
from lorapar_cli.tools.markdown import table

Head = tuple[tuple[str, ...], str, bool]
"""A column: labels of the axes across, figure, and whether it is the published one."""

PAPER = "paper"
FORGOTTEN = "Forgetting by the last stage: losses minus the base model's; nats per token"
_FORMS = {"jaccard": ".3f", "kl": ".4f"} | {name: "+.4f" for name in FORGETTING if name != "kl"}


def table_lines(result: SweepResult, spec: TableSpec) -> tuple[list[str], list[list[str]]]:
    """Returns heads and rows of the table; columns and rows without any figure are left out."""
    by_place: dict[tuple[str, ...], TableCell] = {}
    for cell in result["table"]:
        by_place[_place(cell["labels"], [*spec.rows, *spec.columns])] = cell
    across = list(itertools.product(*(spec.values[axis] for axis in spec.columns)))
    heads: list[Head] = [
        (labels, figure, published)
        for labels in across
        for figure in spec.figures
        for published in (False, True)
    ]
    grid = {
        down: [
            _text(by_place.get((*down, *labels)), figure, paper) for labels, figure, paper in heads
        ]
        for down in itertools.product(*(spec.values[axis] for axis in spec.rows))
    }
    kept = [n for n in range(len(heads)) if any(texts[n] for texts in grid.values())]
    rows = [[*down, *(texts[n] for n in kept)] for down, texts in grid.items() if any(texts)]
    return [*spec.rows, *(_head(heads[n], spec.figures) for n in kept)], rows


def forgetting_lines(
    result: SweepResult, spec: TableSpec
) -> tuple[list[str], list[list[str]]] | None:
    """Returns a table of what was forgotten; None where nothing was measured, or the table has it."""
    figures = {name: FIGURES[name] for name in FORGETTING if name not in spec.figures}
    heads, rows = table_lines(result, replace(spec, figures=figures, published=()))
    measured = any(name in cell["mean"] for cell in result["table"] for name in figures)
    return (heads, rows) if measured else None


def _place(labels: Mapping[str, str], axes: Sequence[str]) -> tuple[str, ...]:
    return tuple(labels.get(axis, "") for axis in axes)


def _head(head: Head, figures: Mapping[str, str]) -> str:
    labels, figure, published = head
    return " ".join([*labels, figures[figure], *([f"({PAPER})"] if published else [])])


def _text(cell: TableCell | None, figure: str, published: bool) -> str:
    if cell is None:
        return ""
    if published:
        value = cell["published"].get(figure)
        return "" if value is None else f"{value:g}"
    if figure in cell["mean"]:
        form = _FORMS.get(figure, ".2f")
        deviation = cell["deviation"].get(figure)
        spread = "" if deviation is None else f" ± {deviation:{form.removeprefix('+')}}"
        return f"{cell['mean'][figure]:{form}}{spread}"
    return "failed" if "failed" in cell else ""


def to_markdown(result: SweepResult, spec: TableSpec) -> str:
    """Returns the page of a sweep."""
    heads, rows = table_lines(result, spec)
    parts = [f"# {result['title']}", table(heads, rows, len(spec.rows))]
    if (forgotten := forgetting_lines(result, spec)) is not None:
        parts += [f"{FORGOTTEN}:", table(*forgotten, len(spec.rows))]
    parts += sentences(result)
    parts += [
        f"[{_describe(row)}](../stages/{row['picture']})"
        for row in result["cells"]
        if "picture" in row
    ]
    return "\n\n".join(parts) + "\n"


def sentences(result: SweepResult) -> list[str]:
    """Returns what has to be read along with the table."""
    seeds = ", ".join(map(str, result["seeds"]))
    spread = "; means and standard deviations over seeds" if len(result["seeds"]) > 1 else ""
    found = [f"Model `{result['model']}`, seed {seeds}{spread}."]
    if any(cell["published"] for cell in result["table"]):
        found.append(f"Columns with ({PAPER}) are published figures.")
    if result["note"]:
        found.append(result["note"])
    failed = [row for row in result["cells"] if "failed" in row]
    found += [f"Failed: {_describe(row)}: {row['failed']}." for row in failed]
    if result["left_out"]:
        found.append(f"Left out, for the time: {'; '.join(result['left_out'])}.")
    return [*found, *(f"{note[:1].upper()}{note[1:]}." for note in result["notes"])]


def _describe(row: CellRow) -> str:
    labels = [f"{axis} {label}" for axis, label in row["labels"].items()]
    return ", ".join([*labels, f"seed {row['seed']}"])


def to_csv(result: SweepResult) -> str:
    """Returns a line for each cell and seed."""
    axes = list(dict.fromkeys(axis for row in result["cells"] for axis in row["labels"]))
    figures = list(dict.fromkeys(name for row in result["cells"] for name in row["figures"]))
    systems = ["system1", "system2"]
    evaluations = ["base", "first", "second"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    split = [f"{name}_{system}" for name in evaluations for system in systems]
    writer.writerow([*axes, "seed", "method", "order", *figures, *split, "failed"])
    for row in result["cells"]:
        line = [
            *(row["labels"].get(axis, "") for axis in axes),
            *(row["seed"], row["method"], row["order"]),
            *(row["figures"].get(name, "") for name in figures),
            *(_share(row, name, system) for name in evaluations for system in systems),
            row.get("failed", ""),
        ]
        writer.writerow([inert(value) for value in line])
    return file.getvalue()


def _share(row: CellRow, evaluation: str, system: str) -> float | str:
    """Returns a system's share of correct answers, an empty text where there is none."""
    found = row["evaluations"].get(evaluation)
    return "" if found is None else found.get("by_system", {}).get(system, "")
