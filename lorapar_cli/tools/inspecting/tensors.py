"""Tensors by their headers: their kinds, and weights that are no adapter, such as a merged model."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from lorapar_cli.elements.matrix_names import matrix_place
from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.regular_files import exists, read_json
from lorapar_cli.store.importance_file import TensorFile
from lorapar_cli.store.verify import check_written
from lorapar_cli.tools.inspect_file import find_tensor

_CONFIG = "config.json"
_WHOLE = "model.safetensors"
_INDEX = f"{_WHOLE}.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""How the names of files end that could run code when they are loaded; none is ever loaded."""


class WeightsReport(TypedDict):
    """Weights in safetensors that are neither importance, mask nor adapter: a model, or one file.

    Keys:
        config: Entries of `config.json` that are set; none for one file.
        metadata: Of the header of one file; none for a folder.
        files: Name -> bytes.
        missing: Files that the folder's index names and that are not there.
        by_kind: Name, with `*` for the number of a layer or expert -> elements.
        tensor, shape, dtype: Of the tensor that was asked for.
    """

    path: str
    kind: Literal["weights"]
    config: dict[str, Any]
    metadata: dict[str, str]
    files: dict[str, int]
    missing: list[str]
    dtypes: list[str]
    tensors: int
    elements: int
    by_kind: dict[str, int]
    tensor: NotRequired[str]
    shape: NotRequired[list[int]]
    dtype: NotRequired[str]


def pickled(path: Path) -> LoraparError:
    """Returns the error for a file that could run code when it is loaded."""
    return LoraparError(
        f"the weights in `{path}` are pickled", hint="save them with `safe_serialization=True`"
    )


def has_weights(folder: Path) -> bool:
    """Returns whether a folder has a model's configuration or files of weights."""
    return exists(folder / _CONFIG) or any(folder.glob("*.safetensors"))


def inspect_weights(path: Path, tensor: str | None = None) -> WeightsReport:
    """Returns what a file of weights, or a model's folder, holds; reads headers alone.

    Args:
        tensor: A tensor's name, or a part that only one name has; None for none.

    Raises:
        LoraparError: A file is damaged or pickled, there is none, or there is no such tensor.
    """
    names, missing = _weight_files(path) if path.is_dir() else ([path.name], [])
    folder = path if path.is_dir() else path.parent
    for name in names:
        check_written(folder / name)
    files = [TensorFile(folder / name) for name in names]
    config = read_json(path / _CONFIG) if exists(path / _CONFIG) else {}
    if not isinstance(config, dict):
        raise LoraparError(f"`{path / _CONFIG}` is not a JSON object")
    report: WeightsReport = {
        "path": str(path),
        "kind": "weights",
        "config": {key: value for key, value in config.items() if value not in (None, {}, [], "")},
        "metadata": {} if path.is_dir() else files[0].metadata,
        "files": {file.path.name: file.path.stat().st_size for file in files},
        "missing": missing,
        "dtypes": sorted({file.dtype(name) for file in files for name in file.shapes}),
        "tensors": sum(len(file.shapes) for file in files),
        "elements": sum(file.size(name) for file in files for name in file.shapes),
        "by_kind": sizes_by_kind(files),
    }
    if tensor is not None:
        owners = {name: file for file in files for name in file.shapes}
        found = find_tensor(tensor, sorted(owners), path)
        report["tensor"], report["shape"] = found, list(owners[found].shapes[found])
        report["dtype"] = owners[found].dtype(found)
    return report


def _weight_files(folder: Path) -> tuple[list[str], list[str]]:
    """Returns the names of a model's files of weights, and of those that are not there.

    Raises:
        LoraparError: There are none, or they are pickled.
    """
    if exists(folder / _INDEX):
        index = read_json(folder / _INDEX)
        places = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(places, dict) or not all(_is_name(each) for each in places.values()):
            raise LoraparError(f"`{folder / _INDEX}` is no index of weights")
        names = sorted(set(places.values()))
        there = [name for name in names if exists(folder / name)]
        return there, [name for name in names if name not in there]
    names = sorted(each.name for each in folder.glob("*.safetensors"))
    if _WHOLE in names:
        return [_WHOLE], []
    if not names:
        for each in sorted(folder.iterdir()):
            if each.suffix in PICKLED:
                raise pickled(each)
        raise LoraparError(f"`{folder}` has the configuration of a model and no weights")
    return names, []


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and Path(value).name == value


def sizes_by_kind(files: Iterable[TensorFile]) -> dict[str, int]:
    """Returns kind -> elements: module and matrix of LoRA, else the name with `*` for numbers."""
    sizes: dict[str, int] = {}
    for file in files:
        for name in sorted(file.shapes):
            kind = _kind(name)
            sizes[kind] = sizes.get(kind, 0) + file.size(name)
    return sizes


def _kind(name: str) -> str:
    if ".lora_" in name:
        place = matrix_place(name)
        return f"{place.module} {place.matrix}"
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)
