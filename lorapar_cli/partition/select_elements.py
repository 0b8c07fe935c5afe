"""From importance to flags: top sets of both systems, cut by share, fraction or number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lorapar_cli.elements.regions import mark_active, mark_top, sweep
from lorapar_cli.elements.top_sets import Cutoff, Ranking
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Flag, System
from lorapar_cli.partition.budget import STEPS, steps_of_budget
from lorapar_cli.partition.element_keys import ElementKeys, candidates, element_keys, file_keys
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.set_budget import spread
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.store.importance_file import ImportanceFile

_BITS = {System.SYSTEM1: (Flag.TOP1, Flag.SFT), System.SYSTEM2: (Flag.TOP2, Flag.RL)}


@dataclass(frozen=True)
class Selection:
    """Which elements were selected, and how.

    Attributes:
        mask: Name -> flags, uint8 in the matrix's shape.
        thetas: Theta of System 1 and of System 2; None where a number of elements was given.
        notes: Sentences for the manifest.
    """

    mask: dict[str, np.ndarray]
    thetas: tuple[float | None, float | None]
    notes: list[str]


@dataclass(frozen=True)
class _Goal:
    """What one system's top set is to be.

    Attributes:
        theta: None where `count` is given.
        count: Number of elements; None where theta is given.
        cut: The cut, where it is known already.
    """

    theta: float | None
    count: int | None
    cut: Cutoff | None = None


def select_elements(source: ImportanceFile, options: PartitionOptions) -> Selection:
    """Returns the flags of every element.

    Raises:
        LoraparError: Nothing is selected for a system, importance cannot be ranked, or a budget is
            out of range.
    """
    names = candidates(source, options)
    keys = element_keys(source, options, names)
    goals = _goals(source, options, names, keys)
    mask = {name: np.zeros(source.layout[name], np.uint8) for name in source.names}
    pieces = {name: _pieces(source, name, mask[name]) for name in names}
    notes = []
    for system, goal in goals.items():
        zeros = 0
        for group, part in _groups(source, options, system, names, goal):
            cut = _cut(keys[system], group, options.select, part)
            mark_top(_flat(pieces, group), keys[system].choice(group), cut, _BITS[system][0])
            zeros += cut.ties if not cut.key else 0
        size = sum(int(np.count_nonzero(mask[name] & _BITS[system][0])) for name in names)
        _require_some(source, options, system, goal, size)
        if options.select in ("importance", "top") and zeros:
            if zeros == size:
                raise _zero_importance(source, system, options.protect)
            notes.append(
                f"{zeros:,} of the {counted(size, 'element')} selected for {system} "
                f"{inflected(zeros, 'has', 'have')} importance 0 and "
                f"{inflected(zeros, 'was', 'were')} taken by name and index"
            )
    for system, share in zip(System, (options.alpha, options.beta), strict=True):
        for group, _ in _groups(source, options, system, names, goals[system]):
            mark_active(_flat(pieces, group), keys[system].choice(group), share, *_BITS[system])
    first, second = (goals[system].theta for system in System)
    return Selection(mask, (first, second), notes)


def _goals(
    source: ImportanceFile,
    options: PartitionOptions,
    names: Sequence[str],
    keys: dict[System, ElementKeys],
) -> dict[System, _Goal]:
    if options.budget is not None:
        theta, cuts = _cut_to_budget(source, keys, names, options)
        return {s: _Goal(theta, None, cut) for s, cut in zip(System, cuts, strict=True)}
    every, own = (_size(source, some) for some in (source.names, names))
    goals = {}
    for system, theta, budget in zip(System, options.thetas, options.set_budgets, strict=True):
        if budget is None:
            goals[system] = _Goal(theta, None)
        else:
            flag = f"--budget-s{system[-1]}"
            goals[system] = _Goal(None, budget.count(flag, every, own))
    return goals


def _size(source: ImportanceFile, names: Sequence[str]) -> int:
    return sum(source.size(f"{System.SYSTEM1}/{name}") for name in names)


def _groups(
    source: ImportanceFile,
    options: PartitionOptions,
    system: System,
    names: list[str],
    goal: _Goal,
) -> list[tuple[list[str], _Goal]]:
    """Returns the matrices that are cut together, each group with its part of the goal."""
    if options.scopes[list(System).index(system)] == "global":
        return [(names, goal)]
    if goal.count is None:
        return [([name], goal) for name in names]
    parts = spread(goal.count, [_size(source, [name]) for name in names])
    return [([name], _Goal(None, part)) for name, part in zip(names, parts, strict=True)]


def _pieces(source: ImportanceFile, name: str, flags: np.ndarray) -> list[np.ndarray]:
    """Returns a matrix's flags as 1-D views like the vectors of its keys."""
    flat, sizes = flags.reshape(-1), source.piece_sizes(f"{System.SYSTEM1}/{name}")
    return np.split(flat, np.cumsum(sizes)[:-1]) if sizes else []


def _flat(pieces: dict[str, list[np.ndarray]], names: Sequence[str]) -> list[np.ndarray]:
    return [piece for name in names for piece in pieces[name]]


def _cut(keys: ElementKeys, names: Sequence[str], select: str, goal: _Goal) -> Cutoff:
    """Returns the cut of these matrices in the order of choice."""
    if goal.cut is not None:
        return goal.cut
    if goal.count is not None:
        return Ranking(keys.choice(names), sums=False).by_count(goal.count)
    theta = goal.theta if goal.theta is not None else 1.0
    if select == "top":
        return Ranking(keys.choice(names), sums=False).by_fraction(theta)
    cut = Ranking(keys.importance(names)).by_share([theta])[0]
    if select == "importance":
        return cut
    return Ranking(keys.choice(names), sums=False).by_count(cut.size)


def _require_some(
    source: ImportanceFile, options: PartitionOptions, system: System, goal: _Goal, size: int
) -> None:
    if size:
        return
    if options.select != "top":
        raise _zero_importance(source, system, options.protect)
    whole = options.scopes[list(System).index(system)] == "global"
    of = "all elements" if whole else "any matrix"
    raise LoraparError(
        f"nothing is selected for {system}: the fraction {goal.theta:g} of {of} is less than one "
        "element",
        hint="give a larger `--theta`",
    )


def _zero_importance(source: ImportanceFile, system: System, protect: float) -> LoraparError:
    if protect and Ranking(file_keys(source, system, source.names)).total:
        return LoraparError(
            f"nothing is selected for {system}: its discounted importance is zero for every element",
            f"`--protect {protect:g}` divides it to less than float32 can hold",
            "give a smaller `--protect`",
        )
    return LoraparError(
        f"nothing is selected for {system}: its importance is zero for every element",
        f"in `{source.path}`",
        "score again with an init that makes A and B non-zero, such as `--init orthogonal`",
    )


def count_by_theta(source: ImportanceFile, thetas: Sequence[float]) -> list[dict[str, int]]:
    """Returns region -> number of elements for each theta, from one pass for all.

    Raises:
        LoraparError: All importance of a system is zero, or it cannot be ranked.
    """
    keys = [file_keys(source, system, source.names) for system in System]
    cuts1, cuts2 = (Ranking(own).by_share(thetas) for own in keys)
    for system, cuts in zip(System, (cuts1, cuts2), strict=True):
        if not all(cut.size for cut in cuts):
            raise _zero_importance(source, system, 0.0)
    return sweep(keys[0], keys[1], cuts1, cuts2)


def _cut_to_budget(
    source: ImportanceFile,
    keys: dict[System, ElementKeys],
    names: Sequence[str],
    options: PartitionOptions,
) -> tuple[float, list[Cutoff]]:
    """Returns the largest theta, to six decimals, whose union of sets is within the budget.

    Returns:
        Theta and the two systems' cuts at it.

    Raises:
        LoraparError: Even the smallest theta selects more, or all importance of a system is zero.
    """
    keys1, keys2 = (keys[system].importance(names) for system in System)
    rankings = [Ranking(own) for own in (keys1, keys2)]
    for system, ranking in zip(System, rankings, strict=True):
        if not ranking.total:
            raise _zero_importance(source, system, options.protect)
    budget = options.budget or 0
    steps = steps_of_budget(keys1, keys2, rankings, budget)
    if not steps:
        raise LoraparError(
            f"no theta selects as few as {counted(budget, 'element')}",
            hint="theta has six decimals, and the smallest sets have one element per system: give "
            "a larger `--budget`",
        )
    theta = steps / STEPS
    return theta, [ranking.by_share([theta])[0] for ranking in rankings]
