"""`lorapar eval`."""

from typing import TYPE_CHECKING, Any

import typer

from lorapar_cli.cli.console import progress_display, show_outcome
from lorapar_cli.cli.options import JsonOption, RunDirOption, given_options
from lorapar_cli.cli.stage_command import stage_command
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.stage_records.evaluation import (
    Accuracy,
    Difference,
    EvalRecord,
    ModelRow,
    PairRow,
    PassAtK,
)
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir

if TYPE_CHECKING:
    from rich.table import Table


@stage_command(EvalOptions)
def evaluate(
    ctx: typer.Context,
    options: EvalOptions,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    as_json: JsonOption = False,
) -> Outcome:
    """Measure the accuracy of the base model and every adapter, by system, with 95 % intervals."""
    from lorapar_cli.evaluation import evaluate as stage

    with progress_display() as progress:
        outcome = stage.evaluate(
            RunDir(run_dir), options, given=given_options(ctx), progress=progress
        )
    show_outcome(outcome, as_json, render, None)
    return outcome


def render(manifest: Manifest) -> list[Any]:
    """Returns the tables of an evaluation: accuracy by model, and differences by pair."""
    record = manifest.record(EvalRecord)
    models, pairs = record.metrics["models"], record.metrics["pairs"]
    # Other tasks' answers may be words, which the strict rule never accepts; results.json has it.
    strict = manifest.settings["task"] == "gsm8k"
    tables = [_accuracy_table(models, record.counts["items"], strict)]
    if "by_steps" in models[0]:
        tables.append(_group_table("steps", [row["by_steps"] for row in models], models))
    if "by_subject" in models[0]:
        tables.append(_group_table("subject", [row["by_subject"] for row in models], models))
    if pairs:
        tables.append(_difference_table(pairs))
    return tables


def _accuracy_table(models: list[ModelRow], items: int, strict: bool) -> "Table":
    from rich.table import Table

    rows = [_cells(row, strict) for row in models]
    table = Table(title=f"accuracy on {items:,} records, 95 % intervals")
    table.add_column("model")
    for heading in rows[0]:
        table.add_column(heading, justify="right")
    for row, cells in zip(models, rows, strict=True):
        table.add_row(row["model"], *(cells[heading] for heading in rows[0]))
    return table


def _cells(row: ModelRow, strict: bool) -> dict[str, str]:
    """Returns heading -> accuracy in words."""
    cells = {"all": _share(row)}
    if strict and "strict" in row:
        cells["strict match"] = _share(row["strict"])
    if "macro_accuracy" in row:
        cells["mean of subjects"] = f"{100 * row['macro_accuracy']:.1f}"
    for groups in (row.get("by_system", {}), row.get("by_group", {})):
        cells |= {_heading(group): _share(inside) for group, inside in groups.items()}
    cells |= {f"pass@{k}": _share(at_k) for k, at_k in row.get("pass_at_k", {}).items()}
    cells |= {f"maj@{k}": _share(at_k) for k, at_k in row.get("maj_at_k", {}).items()}
    return cells


def _group_table(
    kind: str, accuracies: list[dict[str, Accuracy]], models: list[ModelRow]
) -> "Table":
    """Returns a table with a row per group.

    Args:
        accuracies: Of each model: group -> accuracy.
    """
    from rich.table import Table

    table = Table(title=f"accuracy by {kind}")
    for heading in (kind, "records", *(row["model"] for row in models)):
        table.add_column(heading, justify="left" if heading == kind else "right")
    for group, first in accuracies[0].items():
        shares = [_share(by_group[group]) for by_group in accuracies]
        table.add_row(group, f"{first['n']:,}", *shares)
    return table


def _difference_table(pairs: list[PairRow]) -> "Table":
    from rich.table import Table

    systems = list(pairs[0].get("by_system", {}))
    table = Table(title="paired differences in points, 95 % intervals, exact McNemar p")
    table.add_column("models")
    for heading in ("all", *map(_heading, systems)):
        table.add_column(heading, justify="right")
    for pair in pairs:
        parts: list[Difference] = [pair, *(pair["by_system"][system] for system in systems)]
        table.add_row(f"{pair['model']} - {pair['against']}", *map(_difference, parts))
    return table


def _heading(group: str) -> str:
    return group.replace("system", "System ").replace("_", " ")


def _share(part: Accuracy | PassAtK) -> str:
    if part["accuracy"] is None:
        return "-"
    low, high = part["interval"]
    return f"{100 * part['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _difference(part: Difference) -> str:
    low, high = part["interval"]
    p = part["p_value"]
    shown = "p<.001" if p < 0.001 else f"p={p:.3f}".replace("=0.", "=.")
    return f"{100 * part['difference']:+.1f} [{100 * low:.1f}, {100 * high:.1f}] {shown}"
