"""`partition`: cuts both systems' importance and writes the mask of regions and active elements."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from lorapar_cli.core.regions import (
    Partition,
    cut_by_share,
    importance_keys,
    shared_cut,
)
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Flag, Progress, Region, Stage, System, silent
from lorapar_cli.store.manifest import (
    Manifest,
    Outcome,
    describe_inputs,
    is_up_to_date,
    read_manifest,
    write_manifest,
)
from lorapar_cli.store.publish import new_folder
from lorapar_cli.store.rundir import RunDir
from lorapar_cli.store.tensors import layout_fingerprint, open_tensors, read_shapes, write_tensors

MASK = "mask.safetensors"


def partition(
    run_dir: RunDir,
    *,
    theta: float,
    alpha: float,
    beta: float,
    importance: Path | None = None,
    out: Path | None = None,
    given: list[str] | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Writes `mask.safetensors`.

    Args:
        theta: Share of each system's importance that its top set reaches, 0 < theta <= 1.
        alpha: Share of the shared elements active in SFT, 0 to 1.
        beta: Share of the shared elements active in RL, 0 to 1.
        importance: File of importance; None for the run's own.
        out: Stage folder; None for the run's own.

    Raises:
        UsageError: theta, alpha or beta out of range.
        LoraparError: The file is no importance file, or holds NaN or infinity.

    Source: LoRA-PAR Sec. 3, partition into S1-only, S2-only and shared.
    """
    if not 0 < theta <= 1:
        raise UsageError("theta must be above 0 and at most 1", f"{theta}")
    for name, share in (("alpha", alpha), ("beta", beta)):
        if not 0 <= share <= 1:
            raise UsageError(f"{name} must be from 0 to 1", f"{share}")
    path = importance or (
        run_dir.require(Stage.SCORE, "importance", "--importance") / "importance.safetensors"
    )
    inputs = describe_inputs({"importance": path})
    names = _check_layout(path)
    target = out or run_dir.folder(Stage.PARTITION)
    settings = {"theta": theta, "alpha": alpha, "beta": beta, "selection": "importance"}
    if is_up_to_date(target, settings, inputs):
        return Outcome(target, read_manifest(target), fresh=False)
    manifest = Manifest(Stage.PARTITION, settings, given or [], inputs)

    progress("cutting", 0, None)
    keys1, keys2 = (partial(_read_keys, path, system, names) for system in System)
    cut1, cut2 = cut_by_share(keys1, theta), cut_by_share(keys2, theta)
    for system, cut in zip(System, (cut1, cut2), strict=True):
        if not cut.size:
            raise LoraparError(
                f"the importance of every element is zero for {system}",
                f"in `{path}`",
                "score again with an init that has A and B non-zero, `--init orthogonal`",
            )
    cuts = (
        shared_cut(keys1, keys2, cut1, cut2, alpha, 1),
        shared_cut(keys1, keys2, cut1, cut2, beta, 2),
    )
    parts = Partition(cut1, cut2, *cuts)
    shapes = read_shapes(path)
    mask, flags = {}, {}
    for name, vector1, vector2 in zip(names, keys1(), keys2(), strict=True):
        shape = shapes[f"{System.SYSTEM1}/{name}"]
        mask[name] = parts.flags(vector1, vector2).reshape(shape)
        flags[name] = np.bincount(mask[name].ravel(), minlength=16)
    _count(manifest, flags)
    with open_tensors(path) as file:
        manifest.layout_fingerprint = file.metadata()["fingerprint"]
    with new_folder(target) as built:
        header = settings | {
            "fingerprint": manifest.layout_fingerprint,
            "counts": {key: manifest.counts[key] for key in _HEADER_COUNTS},
        }
        write_tensors(built / MASK, mask, header)
        write_manifest(built, manifest)
    return Outcome(target, manifest)


_HEADER_COUNTS = ("elements", "regions", "active_sft", "active_rl")


def _check_layout(path: Path) -> list[str]:
    """Returns the names of an importance file's matrices, sorted.

    Raises:
        LoraparError: The systems differ, or the fingerprint is not that of the tensors.
    """
    with open_tensors(path) as file:
        metadata = file.metadata() or {}
    shapes: dict[str, dict[str, tuple[int, ...]]] = {system.value: {} for system in System}
    for key, shape in read_shapes(path).items():
        system, _, name = key.partition("/")
        if system not in shapes or not name:
            raise LoraparError(
                f"`{path}` is not an importance file",
                f"tensor `{key}`",
                "importance files come from `lorapar score`",
            )
        shapes[system][name] = shape
    first, second = shapes.values()
    if first != second or not first:
        differing = sorted({name for name, _ in first.items() ^ second.items()})
        raise LoraparError(
            f"`{path}` does not hold the same matrices for both systems",
            ", ".join(differing[:5]) or "no tensors",
            "run `lorapar score` again",
        )
    actual = layout_fingerprint(first)
    if metadata.get("fingerprint") != actual:
        raise LoraparError(
            f"`{path}` does not match its own layout fingerprint",
            f"header {metadata.get('fingerprint')}\ntensors {actual}",
            "the file was changed after it was written; run `lorapar score` again",
        )
    return sorted(first)


def _read_keys(path: Path, system: System, names: list[str]) -> Iterator[np.ndarray]:
    with open_tensors(path) as file:
        for name in names:
            try:
                yield importance_keys(file.get_tensor(f"{system}/{name}"))
            except ValueError as cause:
                raise LoraparError(
                    f"importance `{system}/{name}` cannot be ranked", f"{cause}, in `{path}`"
                ) from cause


def _regions(flags: np.ndarray) -> dict[str, int]:
    """Returns the size of each region from counts by flags."""
    return {
        region.value: int(sum(flags[value] for value in range(16) if value & 3 == place))
        for place, region in enumerate(Region)
    }


def _active(flags: np.ndarray, bit: Flag) -> int:
    return int(sum(flags[value] for value in range(16) if value & bit))


def module_kind(name: str) -> tuple[str, str]:
    """Returns a matrix's module kind and side: `("q_proj", "A")`."""
    module, _, side = name.removesuffix(".weight").rpartition(".lora_")
    return module.rpartition(".")[2], side


def _count(manifest: Manifest, flags: dict[str, np.ndarray]) -> None:
    """Fills the manifest's counts and metrics from each matrix's counts by flags."""
    total = sum(flags.values())
    regions = _regions(total)
    elements = int(total.sum())
    sft, rl = _active(total, Flag.SFT), _active(total, Flag.RL)
    union = elements - regions[Region.UNSELECTED]
    kinds: Counter[tuple[str, str]] = Counter()
    for name, counted in flags.items():
        kinds[module_kind(name)] = kinds[module_kind(name)] + counted
    manifest.counts = {
        "elements": elements,
        "regions": regions,
        "active_sft": sft,
        "active_rl": rl,
        "by_kind": [
            {
                "module": kind,
                "matrix": side,
                "elements": int(counted.sum()),
                "regions": _regions(counted),
                "active_sft": _active(counted, Flag.SFT),
                "active_rl": _active(counted, Flag.RL),
            }
            for (kind, side), counted in sorted(kinds.items())
        ],
    }
    manifest.metrics = {
        "jaccard": regions[Region.SHARED] / union,
        "share_active_sft": sft / elements,
        "share_active_rl": rl / elements,
        "share_selected": union / elements,
    }
