"""Fits a grid of trainings into a time: rates, then seeds, then cells are left out.

Values only; no clock.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lorapar_cli.errors import UsageError
from lorapar_cli.plurals import counted

_TIME = re.compile(r"(?:([0-9]{1,5})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,7})s)?")
# Rates that a search tries on average where it may go on as long as it likes.
_USUAL_RATES = 4.5
_FEWEST_RATES = 3
# The mask and its control: without either there is nothing to say.
_FEWEST_CELLS = 2


def read_time(text: str) -> float:
    """Returns the seconds that `90m`, `2h` or `1h30m` stand for.

    Raises:
        UsageError: It is not such a time, or none.
    """
    found = _TIME.fullmatch(text.strip())
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    total = 3600.0 * hours + 60 * minutes + seconds
    if not total:
        raise UsageError("`--budget` is not a time", repr(text), "give one such as `90m` or `2h`")
    return total


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        seeds: Measured trainings of each cell.
        rates: Maximum number of rates tried per cell.
        cells: Number of cells, the first ones.
    """

    seeds: int
    rates: int
    cells: int


def fit_to_first_training(
    wanted: Plan, budget: float, search_seconds: float, search_share: float, jobs: int
) -> Plan:
    """Returns the largest plan that is expected to fit, from the time of the first search training.

    First the search is kept to three rates, then seeds are left out, then cells, from the last one.
    Nothing goes below three rates, one seed and two cells.

    Args:
        wanted: Without a limit of time.
        budget: Seconds left.
        search_seconds: Time of one training of a search.
        search_share: Its length as a share of a measured one's.
        jobs: Trainings side by side.
    """

    def fits(seeds: int, rates: float, cells: int) -> bool:
        trainings = rates + seeds / search_share
        return cells * trainings * search_seconds / jobs <= budget

    if fits(wanted.seeds, min(wanted.rates, _USUAL_RATES), wanted.cells):
        return wanted
    rates = min(wanted.rates, _FEWEST_RATES)
    for seeds in range(wanted.seeds, 0, -1):
        if fits(seeds, rates, wanted.cells):
            return Plan(seeds, rates, wanted.cells)
    for cells in range(wanted.cells, _FEWEST_CELLS, -1):
        if fits(1, rates, cells):
            return Plan(1, rates, cells)
    return Plan(1, rates, min(wanted.cells, _FEWEST_CELLS))


def fit_to_first_cell(
    plan: Plan, cells: int, budget: float, cell_seconds: float, jobs: int
) -> Plan:
    """Returns the plan with as many cells as fit, from the time of the first one.

    Args:
        cells: Number of cells without a limit of time; more may fit than was expected.
        budget: Seconds left after the first cell.
        cell_seconds: Time of the trainings of the first cell.
    """
    more = int(budget * jobs / cell_seconds) if cell_seconds > 0 else cells
    return Plan(plan.seeds, plan.rates, max(min(_FEWEST_CELLS, cells), min(cells, 1 + more)))


def describe_left_out(wanted: Plan, plan: Plan, names: Sequence[str]) -> list[str]:
    """Returns sentences on what is left out.

    Args:
        names: Of all cells.
    """
    found = []
    if plan.rates < wanted.rates:
        found.append(f"learning rates beyond {plan.rates} per cell, of at most {wanted.rates}")
    if plan.seeds < wanted.seeds:
        found.append(f"{wanted.seeds - plan.seeds} of {counted(wanted.seeds, 'seed')}")
    if plan.cells < wanted.cells:
        found.append("cells " + ", ".join(f"`{name}`" for name in names[plan.cells :]))
    return found
