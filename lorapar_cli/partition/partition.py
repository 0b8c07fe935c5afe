"""`partition`: cuts both systems' importance and writes the mask of regions and active elements."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lorapar_cli.elements.region_counts import count_mask, region_shares
from lorapar_cli.errors import UsageError
from lorapar_cli.names import Progress, Region, Stage, silent
from lorapar_cli.partition.options import PartitionOptions, check_options, check_range
from lorapar_cli.partition.select_elements import count_by_theta, cut_to_budget, select_elements
from lorapar_cli.plots.matplotlib_extra import require_matplotlib
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
        require_matplotlib()
    progress("cutting", 0, None)
    thetas, cuts = options.thetas, None
    if options.budget is not None:
        theta, cuts = cut_to_budget(source, options.budget)
        thetas = (theta, theta)
        manifest.metrics["theta_of_budget"] = theta
    mask = select_elements(source, options, thetas, cuts)
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
        check_range("theta", theta, above_zero=True)
    source = ImportanceFile(importance or _own_importance(run_dir))
    ordered = sorted(set(thetas))
    rows = []
    for theta, regions in zip(ordered, count_by_theta(source, ordered), strict=True):
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


def _own_importance(run_dir: RunDir) -> Path:
    return run_dir.require(Stage.SCORE, "importance", "--importance") / "importance.safetensors"
