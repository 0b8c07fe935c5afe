"""`partition`: cuts both systems' importance and writes the mask of regions and active elements."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lorapar_cli.elements.region_counts import count_mask, region_shares
from lorapar_cli.elements.top_sets import (
    Cut,
    Keys,
    Partition,
    Ranking,
    importance_keys,
    random_keys,
    shared_cut,
    sweep,
)
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Progress, Region, Stage, System, silent
from lorapar_cli.partition.budget import STEPS, steps_of_budget
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.importance_file import ImportanceFile
from lorapar_cli.store.manifest import (
    Manifest,
    Outcome,
    describe_inputs,
    is_up_to_date,
    read_manifest,
    write_manifest,
)
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import write_tensors

MASK = "mask.safetensors"


@dataclass(frozen=True)
class PartitionOptions:
    """Settings of `partition`.

    Attributes:
        theta: Share of each system's importance that its top set reaches, 0 < theta <= 1.
        theta_s1, theta_s2: The same for one system; None for theta.
        alpha: Share of the shared elements active in SFT, 0 to 1.
        beta: Share of the shared elements active in RL, 0 to 1.
        select: `importance` (a share of it), `random` (as many elements as that, drawn by seed),
            or `top` (theta is a fraction of the elements).
        scope: `global` (one cut for all elements) or `module` (one a matrix, and so with alpha
            and beta).
        budget: At most so many elements in the union of the two sets; decides theta. None for
            theta as it is given.
        seed: Of `random`.
        plot: Whether to draw the pictures.

    Source: LoRA-PAR Sec. 3; Tab. 2 for alpha and beta, Tab. 3 for theta and `random`.
    """

    theta: float = 0.9
    theta_s1: float | None = None
    theta_s2: float | None = None
    alpha: float = 1.0
    beta: float = 1.0
    select: str = "importance"
    scope: str = "global"
    budget: int | None = None
    seed: int = 0
    plot: bool = False

    @property
    def thetas(self) -> tuple[float, float]:
        """Theta of System 1 and of System 2."""
        return (
            self.theta if self.theta_s1 is None else self.theta_s1,
            self.theta if self.theta_s2 is None else self.theta_s2,
        )


def partition(
    run_dir: RunDir,
    options: PartitionOptions,
    *,
    importance: Path | None = None,
    out: Path | None = None,
    given: list[str] | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Writes `mask.safetensors`.

    Args:
        importance: File of importance; None for the run's own.
        out: Stage folder; None for the run's own.

    Raises:
        UsageError: A setting out of range, or settings that exclude each other.
        LoraparError: The file is no importance file, holds NaN or infinity, or is zero throughout.

    Source: LoRA-PAR Sec. 3, partition into S1-only, S2-only and shared.
    """
    check_options(options)
    if options.budget is not None and "theta" in (given or []):
        raise UsageError("`--budget` decides theta: give no `--theta`", f"{options.theta}")
    path = importance or _own_importance(run_dir)
    inputs = describe_inputs({"importance": path})
    source = ImportanceFile(path)
    target = run_dir.target(Stage.PARTITION, out)
    settings = asdict(options)
    if is_up_to_date(target, settings, inputs):
        return Outcome(target, read_manifest(target), fresh=False)
    manifest = Manifest(Stage.PARTITION, settings, given or [], inputs, seed=options.seed)
    manifest.layout_fingerprint = source.fingerprint

    if options.plot:
        from lorapar_cli.plots.partition_plots import require_matplotlib

        require_matplotlib()
    progress("cutting", 0, None)
    thetas, cuts = options.thetas, None
    if options.budget is not None:
        theta, cuts = _cut_to_budget(source, options.budget)
        thetas = (theta, theta)
        manifest.metrics["theta_of_budget"] = theta
    mask = _select(source, options, thetas, cuts)
    manifest.counts = count_mask(mask)
    manifest.metrics |= region_shares(manifest.counts)
    with new_folder(target) as built:
        header = {
            "theta": thetas[0] if thetas[0] == thetas[1] else list(thetas),
            "alpha": options.alpha,
            "beta": options.beta,
            "selection": options.select,
            "scope": options.scope,
            "fingerprint": source.fingerprint,
            "counts": {key: manifest.counts[key] for key in _HEADER_COUNTS},
        }
        write_tensors(built / MASK, mask, header)
        if options.plot:
            from lorapar_cli.plots.partition_plots import draw_partition

            draw_partition(source, mask, thetas, built / "plots")
        write_manifest(built, manifest)
    return Outcome(target, manifest)


_HEADER_COUNTS = ("elements", "regions", "active_sft", "active_rl")


def compare_thetas(
    run_dir: RunDir, thetas: Sequence[float], *, importance: Path | None = None
) -> list[dict[str, Any]]:
    """Returns region sizes, shares and Jaccard for each theta from one pass; writes nothing.

    Raises:
        UsageError: A theta out of range.
        LoraparError: As `partition`.
    """
    for theta in thetas:
        _check_range("theta", theta, above_zero=True)
    source = ImportanceFile(importance or _own_importance(run_dir))
    ordered = sorted(set(thetas))
    rows = []
    for theta, regions in zip(ordered, _sweep(source, ordered), strict=True):
        elements = sum(regions.values())
        union = elements - regions[Region.UNSELECTED]
        shared = regions[Region.SHARED]
        rows.append(
            {
                "theta": theta,
                "regions": regions,
                "share_s1": (regions[Region.S1_ONLY] + shared) / elements,
                "share_s2": (regions[Region.S2_ONLY] + shared) / elements,
                "share_selected": union / elements,
                "jaccard": shared / union,
            }
        )
    return rows


def check_options(options: PartitionOptions) -> None:
    """Refuses settings out of range and settings that exclude each other.

    Raises:
        UsageError: Says which.
    """
    for name in ("theta", "theta_s1", "theta_s2"):
        if (theta := getattr(options, name)) is not None:
            _check_range(name, theta, above_zero=True)
    for name in ("alpha", "beta"):
        _check_range(name, getattr(options, name), above_zero=False)
    if options.budget is not None:
        if options.budget < 1:
            raise UsageError("the budget must be at least 1 element", f"{options.budget}")
        if options.select != "importance" or options.scope != "global":
            raise UsageError(
                "`--budget` finds the theta of a global cut by importance",
                f"select is `{options.select}`, scope is `{options.scope}`",
            )
        if options.theta_s1 is not None or options.theta_s2 is not None:
            raise UsageError("`--budget` decides theta: give no `--theta-s1` or `--theta-s2`")


def _check_range(name: str, share: float, above_zero: bool) -> None:
    if not (0 < share <= 1 if above_zero else 0 <= share <= 1):
        wanted = "above 0 and at most 1" if above_zero else "from 0 to 1"
        raise UsageError(f"{name} must be {wanted}", f"{share}")


def _own_importance(run_dir: RunDir) -> Path:
    return run_dir.require(Stage.SCORE, "importance", "--importance") / "importance.safetensors"


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


def _select(
    source: ImportanceFile,
    options: PartitionOptions,
    thetas: tuple[float, float],
    known: list[Cut] | None,
) -> dict[str, np.ndarray]:
    """Returns name -> flags; one cut for all matrices, or one for each.

    Args:
        known: The two global cuts, where they have been found already.
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
                f"nothing is selected for {system}: the fraction {theta:g} of {of} is less than "
                "one element",
                hint="give a larger `--theta`",
            )
        raise _zero_importance(source, system)
    return mask


def _zero_importance(source: ImportanceFile, system: System) -> LoraparError:
    return LoraparError(
        f"nothing is selected for {system}: its importance is zero throughout",
        f"in `{source.path}`",
        "score again with an init that has A and B non-zero, `--init orthogonal`",
    )


def _cut(keys: Keys, select: str, theta: float) -> Cut:
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
    cuts: list[Cut],
    options: PartitionOptions,
) -> dict[str, np.ndarray]:
    active = [
        shared_cut(*keys, *cuts, share, by) for by, share in ((1, options.alpha), (2, options.beta))
    ]
    parts = Partition(*cuts, *active)
    pairs = zip(keys[0](), keys[1](), strict=True)
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


def _sweep(source: ImportanceFile, thetas: Sequence[float]) -> list[dict[str, int]]:
    keys = [_keys(source, system, source.names) for system in System]
    return sweep(*keys, *(own.by_share(thetas) for own in _rankings(source, keys)))


def _rankings(source: ImportanceFile, keys: list[Keys]) -> list[Ranking]:
    """Returns both systems' rankings; refuses importance that is zero throughout."""
    rankings = [Ranking(own) for own in keys]
    for system, ranking in zip(System, rankings, strict=True):
        if not ranking.total:
            raise _zero_importance(source, system)
    return rankings


def _cut_to_budget(source: ImportanceFile, budget: int) -> tuple[float, list[Cut]]:
    """Returns the largest theta, to six decimals, whose union of sets is within the budget.

    Returns:
        Theta and the two systems' cuts at it.

    Raises:
        LoraparError: Even the smallest theta selects more, or importance is zero throughout.
    """
    keys = [_keys(source, system, source.names) for system in System]
    rankings = _rankings(source, keys)
    steps = steps_of_budget(*keys, rankings, budget)
    if not steps:
        raise LoraparError(
            f"no theta selects as few as {budget} elements",
            hint="theta has six decimals, and the smallest sets have one element a system: give a "
            "larger `--budget`",
        )
    theta = steps / STEPS
    return theta, [ranking.by_share([theta])[0] for ranking in rankings]
