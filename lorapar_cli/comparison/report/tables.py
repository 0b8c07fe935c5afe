"""The tables of a comparison as Markdown and CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from lorapar_cli.comparison.report.results import BaseRow, CellRow, Comparison, DifferenceRow
from lorapar_cli.names import System
from lorapar_cli.tools.markdown import section, table, title_of

CSV_COLUMNS = (
    *("stage", "cell", "learning_rate", "seeds", "active", "elements", "optimizer_bytes"),
    *("loss_system1", "loss_system2", "accuracy_system1", "accuracy_system2"),
    *("other_loss_change", "kl", "neutral_loss_change", "seconds", "diverged"),
)


def to_csv(comparison: Comparison) -> str:
    """Returns one line for each cell and stage, empty where there is no figure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in comparison["cells"]:
        plain = {key: value for key, value in row.items() if key in CSV_COLUMNS}
        flat = plain | {"seeds": len(row["seeds"])} | dict(row.get("forgetting", {}))
        for measure, values in (
            ("loss", row.get("loss", {})),
            ("accuracy", row.get("accuracy", {})),
        ):
            flat |= {f"{measure}_{system}": value for system, value in values.items()}
        writer.writerow({key: inert(value) for key, value in flat.items()})
    return text.getvalue()


def inert(value: Any) -> Any:
    """Returns a name so that no spreadsheet takes it for a formula."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@")):
        return f"'{value}"
    return value


def to_markdown(comparison: Comparison) -> str:
    """Returns the whole comparison as a page."""
    parts = [f"# Comparison\n\n{comparison['sentence']}."]
    stages = [verdict["stage"] for verdict in comparison["verdicts"]]
    for stage in stages:
        rows = [row for row in comparison["cells"] if row["stage"] == stage]
        differences = [row for row in comparison["differences"] if row["stage"] == stage]
        parts.append(section(f"`{stage}`", _cell_table(rows, comparison["base"])))
        parts.append(section(f"Differences in `{stage}`", _difference_table(differences)))
    counts = comparison["measured"]
    measured = ", ".join(f"{counts[system.value]} of {title_of(system)}" for system in System)
    notes = [
        f"Held-out records: {measured}.",
        f"Estimator: {comparison['estimator']}.",
        "Losses are nats per token of the completions; KL is KL(base || adapter) per token on the "
        "new task's prompts; neutral and other system are changes of loss against the base model.",
        *(f"{note}." for note in comparison["notes"]),
        *(f"Left out to fit into `--budget`: {each}." for each in comparison["left_out"]),
    ]
    parts.append(section("How to read it", "\n".join(f"- {note}" for note in notes)))
    return "\n\n".join(parts) + "\n"


def _cell_table(rows: Sequence[CellRow], base: BaseRow) -> str:
    heads = ["cell", "rate", "elements", "optimizer bytes"]
    heads += [f"{measure} {title_of(s)}" for measure in ("loss", "accuracy") for s in System]
    heads += ["other system", "KL", "neutral", "seconds"]
    own = [
        _cell(values, system) for values in (base["loss"], base["accuracy"]) for system in System
    ]
    lines = [["base model", "", "", "", *own, "", "", "", ""]]
    for row in rows:
        if "diverged" in row:
            lines.append([row["cell"], f"{row['learning_rate']:g}", row["diverged"], *[""] * 9])
            continue
        forgotten = row["forgetting"]
        other = forgotten.get("other_loss_change")
        lines.append(
            [
                row["cell"],
                f"{row['learning_rate']:g}",
                f"{row['active']:,}",
                f"{row['optimizer_bytes']:,}",
                *(_cell(row["loss"], system) for system in System),
                *(_cell(row["accuracy"], system) for system in System),
                "" if other is None else f"{other:+.4f}",
                f"{forgotten['kl']:.4f}",
                f"{forgotten['neutral_loss_change']:+.4f}",
                f"{row['seconds']:.1f}",
            ]
        )
    return table(heads, lines)


def _cell(values: Mapping[str, float], system: System) -> str:
    return f"{values[system.value]:.4f}" if system.value in values else ""


def _difference_table(rows: Sequence[DifferenceRow]) -> str:
    heads = ["cell", "against", "measure", "system", "difference", "95 % interval", "p", "p (Holm)"]
    lines = [
        [
            row["cell"],
            row["against"],
            row["measure"],
            title_of(row["system"]),
            f"{row['difference']:+.4f}",
            f"{row['low']:+.4f} to {row['high']:+.4f}",
            format_p(row["p_value"]),
            format_p(row["p_holm"]),
        ]
        for row in rows
    ]
    return table(heads, lines, text=4)


def format_p(value: float) -> str:
    """Returns a p-value with four decimals; a small one is not called zero."""
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"
