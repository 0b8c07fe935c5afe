"""From importance to flags: top sets of both systems, cut by share, fraction or budget."""

from collections.abc import Iterator, Sequence

import numpy as np

from lorapar_cli.elements.regions import Partition, shared_cut, sweep
from lorapar_cli.elements.top_sets import Cutoff, Keys, Ranking, importance_keys, random_keys
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System
from lorapar_cli.partition.budget import STEPS, steps_of_budget
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.store.importance_file import ImportanceFile


def _keys(source: ImportanceFile, system: System, names: Sequence[str]) -> Keys:
    """Returns one system's importance as keys, piece by piece in the names' order."""

    def read() -> Iterator[np.ndarray]:
        for name in names:
            for piece in source.pieces(f"{system}/{name}"):
                try:
                    yield importance_keys(piece)
                except ValueError as cause:
                    raise LoraparError(
                        f"importance `{system}/{name}` cannot be ranked",
                        f"{cause}, in `{source.path}`",
                    ) from cause

    return read


def select_elements(
    source: ImportanceFile,
    options: PartitionOptions,
    thetas: tuple[float, float],
    known: list[Cutoff] | None,
) -> dict[str, np.ndarray]:
    """Returns name -> flags; one cut for all matrices, or one for each.

    Args:
        known: The two global cuts, where they are known already.

    Raises:
        LoraparError: Nothing is selected for a system, or importance cannot be ranked.
    """
    scopes = [source.names] if options.scope == "global" else [[name] for name in source.names]
    mask: dict[str, np.ndarray] = {}
    found = np.zeros(2, np.int64)
    for names in scopes:
        keys = [_keys(source, system, names) for system in System]
        cuts = known or [
            _cut(own, options.select, theta) for own, theta in zip(keys, thetas, strict=True)
        ]
        found += [cut.size for cut in cuts]
        if options.select == "random":
            keys = [_random(source, system, names, options.seed) for system in System]
            cuts = [
                Ranking(own, sums=False).by_count(cut.size)
                for own, cut in zip(keys, cuts, strict=True)
            ]
        mask |= _flags(source, names, keys, cuts, options)
    for system, theta, size in zip(System, thetas, found, strict=True):
        if size:
            continue
        if options.select == "top":
            of = "all elements" if options.scope == "global" else "any matrix"
            raise LoraparError(
                f"nothing is selected for {system}: the fraction {theta:g} of {of} is less than one "
                "element",
                hint="give a larger `--theta`",
            )
        raise _zero_importance(source, system)
    return mask


def _zero_importance(source: ImportanceFile, system: System) -> LoraparError:
    return LoraparError(
        f"nothing is selected for {system}: its importance is zero for every element",
        f"in `{source.path}`",
        "score again with an init that makes A and B non-zero, such as `--init orthogonal`",
    )


def _cut(keys: Keys, select: str, theta: float) -> Cutoff:
    if select == "top":
        return Ranking(keys, sums=False).by_fraction(theta)
    return Ranking(keys).by_share([theta])[0]


def _random(source: ImportanceFile, system: System, names: Sequence[str], seed: int) -> Keys:
    sizes = [
        (f"{name} {place}", piece_size)
        for name in names
        for place, piece_size in enumerate(source.piece_sizes(f"{system}/{name}"))
    ]
    return random_keys(sizes, seed, system)


def _flags(
    source: ImportanceFile,
    names: Sequence[str],
    keys: list[Keys],
    cuts: list[Cutoff],
    options: PartitionOptions,
) -> dict[str, np.ndarray]:
    (keys1, keys2), (cut1, cut2) = keys, cuts
    sft, rl = (
        shared_cut(keys1, keys2, cut1, cut2, share, by)
        for by, share in ((1, options.alpha), (2, options.beta))
    )
    parts = Partition(cut1, cut2, sft, rl)
    pairs = zip(keys1(), keys2(), strict=True)
    mask = {}
    for name in names:
        flags = np.empty(source.size(f"{System.SYSTEM1}/{name}"), np.uint8)
        filled = 0
        while filled < flags.size:
            made = parts.flags(*next(pairs))
            flags[filled : filled + made.size] = made
            filled += made.size
        mask[name] = flags.reshape(source.layout[name])
    return mask


def count_by_theta(source: ImportanceFile, thetas: Sequence[float]) -> list[dict[str, int]]:
    """Returns region -> number of elements for each theta, from one pass for all.

    Raises:
        LoraparError: All importance of a system is zero, or it cannot be ranked.
    """
    keys1, keys2 = (_keys(source, system, source.names) for system in System)
    cuts1, cuts2 = (own.by_share(thetas) for own in _rankings(source, [keys1, keys2]))
    return sweep(keys1, keys2, cuts1, cuts2)


def _rankings(source: ImportanceFile, keys: list[Keys]) -> list[Ranking]:
    """Returns both systems' rankings.

    Raises:
        LoraparError: All importance of a system is zero.
    """
    rankings = [Ranking(own) for own in keys]
    for system, ranking in zip(System, rankings, strict=True):
        if not ranking.total:
            raise _zero_importance(source, system)
    return rankings


def cut_to_budget(source: ImportanceFile, budget: int) -> tuple[float, list[Cutoff]]:
    """Returns the largest theta, to six decimals, whose union of sets is within the budget.

    Returns:
        Theta and the two systems' cuts at it.

    Raises:
        LoraparError: Even the smallest theta selects more, or all importance of a system is zero.
    """
    keys1, keys2 = (_keys(source, system, source.names) for system in System)
    rankings = _rankings(source, [keys1, keys2])
    steps = steps_of_budget(keys1, keys2, rankings, budget)
    if not steps:
        raise LoraparError(
            f"no theta selects as few as {budget} elements",
            hint="theta has six decimals, and the smallest sets have one element per system: give "
            "a larger `--budget`",
        )
    theta = steps / STEPS
    return theta, [ranking.by_share([theta])[0] for ranking in rankings]
