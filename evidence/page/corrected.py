"""Holm's correction over the units of one study."""

from collections.abc import Sequence

from evidence.page.results_files import Row
from lorapar_cli.comparison.report.estimators import holm


def corrected(rows: Sequence[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """Returns differences of several units, `p_holm` corrected over all of one measure and stage."""
    found: list[tuple[str, Row]] = []
    for group in dict.fromkeys((row["stage"], row["measure"]) for _, row in rows):
        own = [(unit, row) for unit, row in rows if (row["stage"], row["measure"]) == group]
        p_values = holm([row["p_value"] for _, row in own])
        found += [
            (unit, {**row, "p_holm": p}) for (unit, row), p in zip(own, p_values, strict=True)
        ]
    return found
