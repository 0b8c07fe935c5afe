"""`inspect`: contents of an importance or mask file of any size, read piece by piece."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, final

import numpy as np

from lorapar_cli.elements.matrix_names import matrix_place
from lorapar_cli.elements.region_counts import KINDS_OF_FLAGS, count_row
from lorapar_cli.errors import LoraparError, nearest
from lorapar_cli.names import Artifact, System
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.partition import RegionRow
from lorapar_cli.store.disk.regular_files import exists
from lorapar_cli.store.importance_file import ImportanceFile, TensorFile
from lorapar_cli.store.verify import check_written

_FILES = (Artifact.IMPORTANCE, Artifact.MASK)


class Header(TypedDict):
    """What is said of any file; `tensor` and `shape` where one matrix was asked for."""

    path: str
    kind: Literal["mask", "importance"]
    metadata: dict[str, str]
    matrices: int
    tensor: NotRequired[str]
    shape: NotRequired[list[int]]


@final
class MaskReport(Header, RegionRow):
    """A mask: region sizes and active elements, and the same by module kind and matrix."""

    by_kind: dict[str, RegionRow]


class TopElement(TypedDict):
    """One of the most important elements."""

    name: str
    index: list[int]
    importance: float


class SystemReport(TypedDict):
    """One system's importance; figures leave out values that are not finite."""

    elements: int
    total: float
    largest: float
    mean: float
    zeros: int
    not_finite: int
    share_by_kind: dict[str, float]
    top: list[TopElement]


@final
class ImportanceReport(Header):
    """An importance file, by system."""

    systems: dict[str, SystemReport]


def inspect_file(
    path: Path, *, tensor: str | None = None, top: int = 10
) -> MaskReport | ImportanceReport:
    """Returns header, totals, shares by module kind and top elements of a file or of one matrix.

    Args:
        path: The file, or the stage folder that contains it.
        tensor: A matrix's name, or a part that only one name has; None for the whole file.
        top: Number of top elements of importance to list.

    Raises:
        LoraparError: There is no such file, it is not what its stage wrote, it is neither
            importance nor mask, or it has no such tensor.
    """
    if path.is_dir():
        path = next((path / name for name in _FILES if exists(path / name)), path / _FILES[0])
    check_written(path)
    file = TensorFile(path)
    if file.shapes and all(file.dtype(name) == "U8" for name in file.shapes):
        return _inspect_mask(file, tensor)
    return _inspect_importance(ImportanceFile(path), tensor, top)


def find_tensor(wanted: str, names: list[str], path: Path) -> str:
    """Returns the one name that is, or has, what was asked for.

    Raises:
        LoraparError: None does, or several.
    """
    found = [name for name in names if wanted in name]
    if wanted in names or len(found) == 1:
        return wanted if wanted in names else found[0]
    if found:
        raise LoraparError(
            f"`{wanted}` is part of {counted(len(found), 'name')} in `{path}`", "\n".join(found[:5])
        )
    raise LoraparError(
        f"no tensor `{wanted}` in `{path}`{nearest(wanted, names)}",
        hint="names are PEFT's, for instance "
        "`base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`",
    )


def _inspect_mask(file: TensorFile, tensor: str | None) -> MaskReport:
    names = sorted(file.shapes)
    header: Header = {
        "path": str(file.path),
        "kind": "mask",
        "metadata": file.metadata,
        "matrices": len(names),
    }
    if tensor is not None:
        names = [find_tensor(tensor, names, file.path)]
        header["tensor"], header["shape"] = names[0], list(file.shapes[names[0]])
    kinds = _count_flags(file, names)
    total = np.sum(list(kinds.values()), axis=0)
    return {
        **header,
        **count_row(total),
        "by_kind": {kind: count_row(counted) for kind, counted in sorted(kinds.items())},
    }


def _count_flags(file: TensorFile, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns module kind and matrix -> number of elements by their flags, int64 `[16]`.

    Raises:
        LoraparError: A tensor has flags that no mask has.
    """
    kinds: dict[str, np.ndarray] = {}
    for name in names:
        counted = np.zeros(KINDS_OF_FLAGS, np.int64)
        for piece in file.pieces(name):
            own = np.bincount(piece, minlength=KINDS_OF_FLAGS)
            if own.size > KINDS_OF_FLAGS:
                raise LoraparError(
                    f"`{file.path}` is not a mask",
                    f"`{name}` has the value {own.size - 1}, flags go up to {KINDS_OF_FLAGS - 1}",
                    "run `lorapar partition` again",
                )
            counted += own
        kind = _kind(name)
        kinds[kind] = kinds.get(kind, np.zeros(KINDS_OF_FLAGS, np.int64)) + counted
    return kinds


def _kind(name: str) -> str:
    place = matrix_place(name)
    return f"{place.module} {place.matrix}"


def _inspect_importance(file: ImportanceFile, tensor: str | None, top: int) -> ImportanceReport:
    names = file.names
    header: Header = {
        "path": str(file.path),
        "kind": "importance",
        "metadata": file.metadata,
        "matrices": len(names),
    }
    if tensor is not None:
        names = [find_tensor(tensor, names, file.path)]
        header["tensor"], header["shape"] = names[0], list(file.layout[names[0]])
    systems = {system.value: _inspect_system(file, system, names, top) for system in System}
    return {**header, "systems": systems}


def _inspect_system(
    file: ImportanceFile, system: System, names: list[str], top: int
) -> SystemReport:
    total, largest, zeros, elements, not_finite = 0.0, 0.0, 0, 0, 0
    kinds: dict[str, float] = {}
    best: list[tuple[float, str, int]] = []
    for name, start, read in _pieces(file, system, names):
        finite = np.isfinite(read)
        not_finite += int(read.size - np.count_nonzero(finite))
        # Values that are not finite have no rank: the figures are those of the others.
        piece = read if finite.all() else np.where(finite, read, np.float32(0))
        part = float(piece.sum(dtype=np.float64))
        total += part
        zeros += int(np.count_nonzero(read == 0))
        elements += piece.size
        largest = max(largest, float(piece.max()))
        kind = _kind(name)
        kinds[kind] = kinds.get(kind, 0.0) + part
        best = _merge(best, piece, name, start, top)
    return {
        "elements": elements,
        "total": total,
        "largest": largest,
        "mean": total / elements,
        "zeros": zeros,
        "not_finite": not_finite,
        "share_by_kind": {
            kind: part / total if total else 0 for kind, part in sorted(kinds.items())
        },
        "top": [
            {
                "name": name,
                "index": [int(place) for place in np.unravel_index(flat, file.layout[name])],
                "importance": value,
            }
            for value, name, flat in best
        ],
    }


def _pieces(
    file: ImportanceFile, system: System, names: list[str]
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yields name, index of the first element, and elements of each piece."""
    for name in names:
        start = 0
        for piece in file.pieces(f"{system}/{name}"):
            yield name, start, piece
            start += piece.size


def _merge(
    best: list[tuple[float, str, int]], piece: np.ndarray, name: str, start: int, top: int
) -> list[tuple[float, str, int]]:
    """Returns the top elements after a piece has been merged in; ties by name, then index."""
    if top == 0:
        return []
    # Only elements above the last place so far can enter; among equals the earlier ones stay.
    least = best[-1][0] if len(best) == top else -np.inf
    candidates = np.flatnonzero(piece > least)
    if candidates.size > top:
        order = np.argsort(-piece[candidates], kind="stable")[:top]
        candidates = candidates[order]
    added = [(float(piece[place]), name, start + int(place)) for place in candidates]
    return sorted([*best, *added], key=lambda item: (-item[0], item[1], item[2]))[:top]
