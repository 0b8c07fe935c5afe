"""`inspect`: what an importance or mask file of any size holds, read piece by piece."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lorapar_cli.elements.matrix_names import matrix_place
from lorapar_cli.elements.region_counts import KINDS_OF_FLAGS, count_row
from lorapar_cli.errors import LoraparError, nearest
from lorapar_cli.names import System
from lorapar_cli.store.importance_file import ImportanceFile, TensorFile

FILES = ("importance.safetensors", "mask.safetensors")


def inspect_file(path: Path, *, tensor: str | None = None, top: int = 10) -> dict[str, Any]:
    """Returns header, totals, shares by module kind and top elements, or one tensor's figures.

    Args:
        path: The file, or the stage folder that holds it.
        tensor: A matrix's name, or a part that only one name has; None for the whole file.
        top: Number of top elements of importance to list.

    Raises:
        LoraparError: No such file, neither importance nor mask, or no such tensor.
    """
    if path.is_dir():
        path = next((path / name for name in FILES if (path / name).is_file()), path / FILES[0])
    file = TensorFile(path)
    is_mask = bool(file.shapes) and all(file.dtype(name) == "U8" for name in file.shapes)
    if not is_mask:
        file = ImportanceFile(path)
    names = sorted(file.shapes) if is_mask else file.names
    report: dict[str, Any] = {
        "path": str(path),
        "kind": "mask" if is_mask else "importance",
        "metadata": file.metadata,
        "matrices": len(names),
    }
    if tensor is not None:
        names = [_find(tensor, names, path)]
        report["tensor"] = names[0]
        report["shape"] = list(file.shapes[names[0]] if is_mask else file.layout[names[0]])
    if is_mask:
        return report | _describe_mask(file, names)
    return report | {
        "systems": {
            system.value: _describe_importance(file, system, names, top) for system in System
        }
    }


def _find(wanted: str, names: list[str], path: Path) -> str:
    found = [name for name in names if wanted in name]
    if wanted in names or len(found) == 1:
        return wanted if wanted in names else found[0]
    if found:
        raise LoraparError(
            f"`{wanted}` is part of {len(found)} names in `{path}`", "\n".join(found[:5])
        )
    raise LoraparError(
        f"no tensor `{wanted}` in `{path}`{nearest(wanted, names)}",
        hint="names are PEFT's, for instance "
        "`base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`",
    )


def _describe_mask(file: TensorFile, names: list[str]) -> dict[str, Any]:
    total = np.zeros(KINDS_OF_FLAGS, np.int64)
    kinds: dict[str, np.ndarray] = {}
    for name in names:
        counted = sum(
            (np.bincount(piece, minlength=KINDS_OF_FLAGS) for piece in file.pieces(name)),
            np.zeros(KINDS_OF_FLAGS, np.int64),
        )
        if counted.size > KINDS_OF_FLAGS:
            raise LoraparError(f"`{file.path}` is not a mask", f"`{name}` holds unknown flags")
        total += counted
        place = matrix_place(name)
        key = f"{place.module} {place.matrix}"
        kinds[key] = kinds.get(key, 0) + counted
    return count_row(total) | {
        "by_kind": {key: count_row(counted) for key, counted in sorted(kinds.items())}
    }


def _describe_importance(
    file: ImportanceFile, system: System, names: list[str], top: int
) -> dict[str, Any]:
    total, largest, zeros, elements, not_finite = 0.0, 0.0, 0, 0, 0
    kinds: dict[str, float] = {}
    best: list[tuple[float, str, int]] = []
    for name, start, read in _pieces(file, system, names):
        finite = np.isfinite(read)
        not_finite += int(read.size - np.count_nonzero(finite))
        # Such values have no rank: the figures are those of the others.
        piece = read if finite.all() else np.where(finite, read, np.float32(0))
        part = float(piece.sum(dtype=np.float64))
        total += part
        zeros += int(np.count_nonzero(read == 0))
        elements += piece.size
        largest = max(largest, float(piece.max()))
        place = matrix_place(name)
        key = f"{place.module} {place.matrix}"
        kinds[key] = kinds.get(key, 0.0) + part
        best = _merge(best, piece, name, start, top)
    return {
        "elements": elements,
        "total": total,
        "largest": largest,
        "mean": total / elements,
        "zeros": zeros,
        "not_finite": not_finite,
        "share_by_kind": {key: part / total if total else 0 for key, part in sorted(kinds.items())},
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
    """Returns the top elements with a piece's own among them; ties by name, then index."""
    if top == 0:
        return []
    # Only what reaches the last place so far can matter; among equals the earlier ones stay.
    least = best[-1][0] if len(best) == top else -np.inf
    candidates = np.flatnonzero(piece > least)
    if candidates.size > top:
        order = np.argsort(-piece[candidates], kind="stable")[:top]
        candidates = candidates[order]
    added = [(float(piece[place]), name, start + int(place)) for place in candidates]
    return sorted([*best, *added], key=lambda item: (-item[0], item[1], item[2]))[:top]
