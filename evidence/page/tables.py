"""The tables of `docs/results.md`, one function for each kind of study."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evidence.curve_published import PUBLISHED
from evidence.page.claims import claims_table
from evidence.page.corrected import corrected
from evidence.page.results_files import LEVEL, Results, Row
from lorapar_cli.comparison.report.tables import format_p
from lorapar_cli.tools.markdown import table, title_of

_CELL_HEADS = ["loss S1", "loss S2", "accuracy S1", "accuracy S2", "KL", "neutral"]
_SYSTEMS = ("system1", "system2")
_CLAIMS = (
    "What the paper concludes from its tables. Differences are of accuracy on the embedded test set (both "
    "systems), paired by seed and averaged over the cells that a conclusion is about; p is corrected for all "
    "conclusions. With so few seeds, only large and steady differences are significant."
)


def tables_of(study: Results) -> str:
    """Returns the tables of a study's finished units, empty where none is finished."""
    return _MAKERS[study.known.name](study) if study.units else ""


def difference_cell(row: Row | None) -> str:
    """Returns a difference with its interval, marked where it is significant after correction."""
    if row is None:
        return ""
    star = "*" if row["p_holm"] < LEVEL else ""
    return f"{row['difference']:+.3f}{star} ({row['low']:+.3f} to {row['high']:+.3f})"


def _find(rows: Sequence[Row], **wanted: str) -> Row | None:
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return found[0] if found else None


def _figures(row: Row) -> list[str]:
    """Returns a cell's losses, accuracies and forgetting."""
    if "diverged" in row:
        return ["diverged", *[""] * 5]
    return [
        *(f"{row['loss'][system]:.3f}" for system in _SYSTEMS),
        *(_share(row["accuracy"].get(system)) for system in _SYSTEMS),
        f"{row['forgetting']['kl']:.3f}",
        f"{row['forgetting']['neutral_loss_change']:+.3f}",
    ]


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _base(found: Mapping[str, Any]) -> list[str]:
    base = found["base"]
    return [
        *(f"{base['loss'][system]:.3f}" for system in _SYSTEMS),
        *(_share(base["accuracy"].get(system)) for system in _SYSTEMS),
        *["", ""],
    ]


def _rules(measure: str, system: str) -> Callable[[Results], str]:
    """Returns what makes the tables of rule and budget."""

    def make(study: Results) -> str:
        budgets = list(study.units)
        names = dict.fromkeys(row["cell"] for _, row in study.differences())
        names = {name: None for name in names if name != "random"}
        primary = [
            (unit, row)
            for unit, row in study.differences()
            if row["against"] == "random" and (row["measure"], row["system"]) == (measure, system)
        ]
        of_budget = {budget: [row for unit, row in primary if unit == budget] for budget in budgets}
        lines = [
            [f"`{name}`", *(difference_cell(_find(of_budget[b], cell=name)) for b in budgets)]
            for name in names
        ]
        parts = [
            f"Difference in {measure} on {title_of(system)} from `random`, by budget. `full` and "
            "`rank` have their own sizes.",
            table(["cell", *(f"{budget} %" for budget in budgets)], lines),
        ]
        for budget, found in study.units.items():
            rows = [["base model", "", "", *_base(found)]]
            rows += [
                [
                    f"`{row['cell']}`",
                    f"{row['learning_rate']:g}",
                    f"{row['active']:,}" if "active" in row else "",
                    *_figures(row),
                ]
                for row in found["cells"]
            ]
            parts += [
                f"Budget {budget} %, means over seeds:",
                table(["cell", "rate", "elements", *_CELL_HEADS], rows),
            ]
        return "\n\n".join(parts)

    return make


def _stages(study: Results) -> str:
    """Returns the tables of a study over both stages, a pair for each unit."""
    parts = []
    for unit, found in study.units.items():
        rows = [["base model", "", "", *_base(found)]]
        rows += [
            [f"`{row['cell']}`", row["stage"], f"{row['learning_rate']:g}", *_figures(row)]
            for row in found["cells"]
        ]
        parts += [
            f"`{unit}`, means over seeds:",
            table(["cell", "after", "rate", *_CELL_HEADS], rows, text=2),
            "Differences after both stages:",
            _difference_table(found["differences"]),
        ]
    return "\n\n".join(parts)


def _difference_table(rows: Sequence[Row]) -> str:
    lines = [
        [
            f"`{row['cell']}`",
            f"`{row['against']}`",
            row["measure"],
            title_of(row["system"]),
            difference_cell(row),
            format_p(row["p_holm"]),
        ]
        for row in rows
    ]
    heads = ["cell", "against", "measure", "system", "difference (95 % interval)", "p (Holm)"]
    return table(heads, lines, text=4)


def _paper(study: Results) -> str:
    """Returns what holds of the paper's claims, and its tables, axes down and figures across."""
    claims = claims_table(study)
    parts = [_CLAIMS, claims] if claims else []
    for found in study.units.values():
        axes = [*found["layout"]["rows"], *found["layout"]["columns"]]
        figures = found["layout"]["figures"]
        lines = []
        for cell in found["table"]:
            line = [cell["labels"].get(axis, "") for axis in axes]
            for figure in figures:
                line += [_mean(cell, figure), _published(cell, figure)]
            lines.append(line)
        heads = [*axes]
        for head in figures.values():
            heads += [head, f"{head} (paper)"]
        parts += [f"{found['title']}. {found['note']}".strip(), table(heads, lines, len(axes))]
    return "\n\n".join(parts)


def _mean(cell: Row, figure: str) -> str:
    if figure not in cell["mean"]:
        return ""
    spread = cell["deviation"].get(figure)
    return f"{cell['mean'][figure]:.2f}" + ("" if spread is None else f" ± {spread:.2f}")


def _published(cell: Row, figure: str) -> str:
    value = cell["published"].get(figure)
    return "" if value is None else f"{value:g}"


def _faults(study: Results) -> str:
    rows = corrected(list(study.differences()))
    lines = [
        [
            f"`{row['cell']}`",
            "SFT" if row["stage"] == "train-sft" else "RL",
            row["measure"],
            title_of(row["system"]),
            difference_cell(row),
            format_p(row["p_holm"]),
        ]
        for _, row in rows
    ]
    heads = ["fault", "after", "measure", "system", "difference (95 % interval)", "p (Holm)"]
    cells: dict[tuple[str, str], list[str]] = {}
    for found in study.units.values():
        for row in found["cells"]:
            figures = [f"{row['learning_rate']:g}", *_figures(row)]
            cells[row["cell"], row["stage"]] = [f"`{row['cell']}`", row["stage"], *figures]
    parts = [
        table(["cell", "after", "rate", *_CELL_HEADS], list(cells.values()), text=2),
        table(heads, lines, text=4),
    ]
    moved = study.units.get("frozen-decay", {})
    if "frozen_share" in moved:
        parts.append(
            f"With `frozen-decay`, {100 * moved['frozen_share']:.0f} % of the frozen elements moved, "
            f"by {100 * moved['frozen_relative']:.2f} % of their norm (mean over all trainings)."
        )
    return "\n\n".join(parts)


def _curve(study: Results) -> str:
    return "\n\n".join(_curve_table(found, PUBLISHED) for found in study.units.values())


def _curve_table(found: Mapping[str, Any], published: Sequence[float]) -> str:
    lines = [
        [title_of(row["gradients"]), *(f"{share:.2f}" for share in row["shares"])]
        for row in found["rows"]
    ]
    lines.append(["the paper, LLaMA2-7B (Tab. 3)", *(f"{share:.2f}" for share in published)])
    return table(["gradients", *(f"theta {theta}" for theta in found["thetas"])], lines)


def _noise(study: Results) -> str:
    lines = []
    for found in study.units.values():
        name = found.get("splitter") or found.get("control")
        if name is None:
            continue
        kind = "splitter" if "splitter" in found else "control"
        if found["verdict"] == "no split":
            lines.append([kind, name, str(found["asked"]), *[""] * 5, "no split"])
            continue
        lines.append(
            [
                kind,
                name,
                " and ".join(map(str, dict.fromkeys(found["samples_by_system"].values()))),
                *(f"{found[key]:.2f}" for key in ("within1", "within2", "between", "chance")),
                f"{100 * found['beyond']:.0f} %",
                found["verdict"],
            ]
        )
    heads = ["", "", "samples", "within S1", "within S2", "between", "chance", "beyond noise"]
    parts = [table([*heads, "above noise?"], lines, text=2)] if lines else []
    labels = {found["splitter"]: found for found in study.units.values() if "as_source" in found}
    parts += [
        f"Splitter {name}: {found['sizes']['system1']} records in System 1, "
        f"{found['sizes']['system2']} in System 2; {100 * found['as_source']:.0f} % as by source."
        for name, found in labels.items()
    ]
    if "curve" in study.units:
        parts += [
            "Per cent of the elements by theta:",
            _curve_table(study.units["curve"], PUBLISHED),
        ]
    return "\n\n".join(parts)


def _real_training(study: Results) -> str:
    parts = []
    for budget, found in study.units.items():
        choices = found["choices"]
        rows = [["base model", "", "", *_base(found), _share(choices["base"])]]
        rows += [
            [
                f"`{row['cell']}`",
                f"{row['learning_rate']:g}",
                f"{row['active']:,}" if "active" in row else "",
                *_figures(row),
                _share(choices["accuracy"].get(row["cell"])),
            ]
            for row in found["cells"]
        ]
        differences = [row for row in found["differences"] if row["measure"] == "loss"]
        parts += [
            f"Budget {budget} %, means over seeds:",
            table(["cell", "rate", "elements", *_CELL_HEADS, "choices"], rows),
            _difference_table([*differences, *choices["differences"]]),
        ]
    return "\n\n".join(parts)


_MAKERS: dict[str, Callable[[Results], str]] = {
    "embedded-sft": _rules("loss", "system1"),
    "embedded-rl": _rules("accuracy", "system2"),
    "recipes": _stages,
    "replay": _stages,
    "tables": _paper,
    "authors": _faults,
    "curve": _curve,
    "real-noise": _noise,
    "real-training": _real_training,
}
