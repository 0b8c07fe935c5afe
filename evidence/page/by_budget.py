"""How one cell stands against another, budget by budget, and that in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from evidence.page.finding import in_words
from evidence.page.results_files import Results, Row, is_better


@dataclass(frozen=True)
class ByBudget:
    """Budgets by what a difference shows there; names of units, which are per cent of the elements.

    Attributes:
        same: Where no difference is significant, which does not show that there is none.
    """

    better: list[str]
    worse: list[str]
    same: list[str]
    unfinished: list[str]


def by_budget(
    study: Results, cell: str, against: str, measure: str, system: str
) -> ByBudget | None:
    """Returns what a study's finished units show, None where they do not compare the two."""
    wanted = {"cell": cell, "against": against, "measure": measure, "system": system}
    found = {
        unit: is_better(row)
        for unit, row in study.differences()
        if all(row[key] == value for key, value in wanted.items())
    }
    if not found:
        return None
    of = {
        verdict: [unit for unit, each in found.items() if each is verdict]
        for verdict in (True, False, None)
    }
    return ByBudget(of[True], of[False], of[None], study.unfinished)


def compared(subject: str, rival: str, found: ByBudget) -> str:
    """Returns a sentence on how the subject stands against its rival, without a full stop."""
    parts = [
        f"is {relation} {rival} at {budgets_in_words(budgets)}"
        for relation, budgets in (("better than", found.better), ("worse than", found.worse))
        if budgets
    ]
    if len(parts) > 1:
        parts[1] = parts[1].replace(f"worse than {rival}", "worse", 1)
    text = f"{subject} {' and '.join(parts)} of the elements" if parts else ""
    if found.same:
        text += (
            f"; at {budgets_in_words(found.same)} the two cannot be told apart"
            if text
            else f"{subject} cannot be told apart from {rival} at {budgets_in_words(found.same)} of "
            "the elements"
        )
    if found.unfinished:
        text += f" (not measured yet: {budgets_in_words(found.unfinished)})"
    return text


def budgets_in_words(names: Sequence[str]) -> str:
    """Returns budgets as in a sentence."""
    return in_words([f"{name} %" for name in names])


def interval(row: Row) -> str:
    """Returns a difference with its interval."""
    return (
        f"{row['measure']} {row['difference']:+.3f}, 95 % interval {row['low']:+.3f} to "
        f"{row['high']:+.3f}"
    )
