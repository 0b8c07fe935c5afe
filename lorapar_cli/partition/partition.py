"""`partition`: cuts both systems' importance into the mask of regions and active elements."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from lorapar_cli.elements.region_counts import count_mask, region_shares
from lorapar_cli.errors import UsageError
from lorapar_cli.events import Advance, Progress, silent
from lorapar_cli.names import Artifact, Region, Stage
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.select_elements import Selection, count_by_theta, select_elements
from lorapar_cli.stage_records.partition import PartitionRecord, RegionRow, Regions
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.importance_file import ImportanceFile
from lorapar_cli.store.manifest import Manifest, Outcome, write_manifest
from lorapar_cli.store.reuse import PendingInputs, checking, reuse
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import write_tensors
from lorapar_cli.store.working import reuse_or_make


def partition(
    run_dir: RunDir,
    options: PartitionOptions,
    *,
    given: Sequence[str] = (),
    progress: Progress = silent,
) -> Outcome:
    """Writes `mask.safetensors`.

    Args:
        given: Names of the options that the user gave, as opposed to defaults.

    Raises:
        UsageError: Options exclude each other.
        LoraparError: The file is not an importance file, contains NaN or infinity, or all its
            values are zero.

    Source: LoRA-PAR Sec. 3, partition into S1-only, S2-only and shared.
    """
    _check_theta(options, given)
    path = _importance_path(run_dir, options.importance)
    with checking({"importance": path}) as pending:
        source = ImportanceFile(path)
        target = run_dir.target(Stage.PARTITION, options.out)
        settings = options.settings()

        def make() -> Outcome:
            manifest = Manifest(Stage.PARTITION, settings, list(given), seed=options.seed)
            progress(Advance("partitioning"))
            _write(target, source, options, manifest, pending)
            return Outcome(target, manifest)

        return reuse_or_make(
            target, lambda: reuse(target, settings, pending, kind=PartitionOptions), make
        )


def _write(
    target: Path,
    source: ImportanceFile,
    options: PartitionOptions,
    manifest: Manifest,
    pending: PendingInputs,
) -> None:
    """Selects the elements, completes the manifest and publishes the stage folder."""
    selection = select_elements(source, options)
    counts = count_mask(selection.mask)
    metrics = region_shares(counts)
    if options.budget is not None and selection.thetas[0] is not None:
        metrics["theta_of_budget"] = selection.thetas[0]
    manifest.notes += selection.notes
    manifest.layout_fingerprint = source.fingerprint
    manifest.keep(PartitionRecord(counts, metrics))
    manifest.inputs = pending.result()
    with new_folder(target) as built:
        header = _header(options, selection.thetas, source.fingerprint, counts)
        write_tensors(built / Artifact.MASK, selection.mask, header)
        if options.plot:
            from lorapar_cli.plots.partition_plots import draw_partition

            draw_partition(
                source, selection.mask, _title(options, selection), built / Artifact.PLOTS
            )
        write_manifest(built, manifest, target=target)


def _check_theta(options: PartitionOptions, given: Sequence[str]) -> None:
    """Refuses a theta that a budget would make meaningless."""
    if "theta" not in given:
        return
    if options.budget is not None:
        raise UsageError("`--budget` sets theta: omit `--theta`", f"{options.theta}")
    if all(options.set_budgets):
        raise UsageError(
            "`--budget-s1` and `--budget-s2` take the place of theta: omit `--theta`",
            f"{options.theta}",
        )


def _title(options: PartitionOptions, selection: Selection) -> str:
    """Returns how the two sets were cut, for a picture."""
    parts = [
        f"theta {theta:g}" if budget is None else f"budget {budget.text}"
        for theta, budget in zip(selection.thetas, options.set_budgets, strict=True)
    ]
    return ", ".join(dict.fromkeys(parts))


def _header(
    options: PartitionOptions,
    thetas: tuple[float | None, float | None],
    fingerprint: str,
    counts: RegionRow,
) -> dict[str, Any]:
    """Returns the metadata of the mask file; options of a later date only where they are given."""
    given = {
        "scope_s2": options.scope_s2,
        "only": options.only,
        "budget_s1": options.budget_s1,
        "budget_s2": options.budget_s2,
        "protect": options.protect or None,
    }
    return {
        "theta": thetas[0] if thetas[0] == thetas[1] else list(thetas),
        "alpha": options.alpha,
        "beta": options.beta,
        "selection": options.select,
        "scope": options.scope,
        **{name: value for name, value in given.items() if value is not None},
        "fingerprint": fingerprint,
        "counts": {
            "elements": counts["elements"],
            "regions": counts["regions"],
            "active_sft": counts["active_sft"],
            "active_rl": counts["active_rl"],
        },
    }


class ThetaRow(TypedDict):
    """Sizes of the regions at one theta; shares are of all elements."""

    theta: float
    regions: Regions
    share_s1: float
    share_s2: float
    share_selected: float
    jaccard: float


def compare_thetas(
    run_dir: RunDir, thetas: Sequence[float], *, importance: Path | None = None
) -> list[ThetaRow]:
    """Returns region sizes, shares and Jaccard index for each theta; writes nothing.

    Raises:
        UsageError: A theta is out of range.
        LoraparError: As of `partition`.
    """
    for theta in thetas:
        PartitionOptions(theta=theta)
    path = _importance_path(run_dir, importance)
    ordered = sorted(set(thetas))
    with checking({"importance": path}) as pending:
        counted = count_by_theta(ImportanceFile(path), ordered)
        pending.result()
    rows: list[ThetaRow] = []
    for theta, regions in zip(ordered, counted, strict=True):
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


def _importance_path(run_dir: RunDir, named: Path | None) -> Path:
    if named is not None:
        return named
    return run_dir.require(Stage.SCORE, "importance", "--importance") / Artifact.IMPORTANCE
