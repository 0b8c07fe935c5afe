"""Tables of what models have forgotten."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lorapar_cli.stage_records.evaluation import ModelRow
from lorapar_cli.stage_records.forgetting import Forgetting

if TYPE_CHECKING:
    from rich.table import Table


def forgetting_table(models: Mapping[str, Forgetting], seconds: float | None = None) -> "Table":
    """Returns a table with a row per model.

    Args:
        models: Label -> figures.
        seconds: That measuring them took, where it is to be said.
    """
    from rich.table import Table

    from lorapar_cli.tools.forgetting import UNITS, model_columns

    heads, cells = model_columns(models)
    took = "" if seconds is None else f"; measured in {seconds:.1f} s"
    table = Table(title=f"forgetting; {UNITS}{took}", title_justify="left")
    table.add_column("model")
    for head in heads:
        table.add_column(head, justify="right")
    for name, row in cells.items():
        table.add_row(name, *row)
    return table


def measured(models: Sequence[ModelRow]) -> dict[str, Forgetting]:
    """Returns model -> what was measured of its forgetting; empty where nothing was."""
    return {row["model"]: row["forgetting"] for row in models if "forgetting" in row}
