"""Sums of an interrupted `score`, from which the next call goes on."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.tensor_files import Tensors, read_tensors, write_tensors


def partial_folder(target: Path) -> Path:
    """Returns the hidden folder beside a stage folder that holds unfinished sums."""
    return target.with_name(f".{target.name}.partial")


def write_partial(path: Path, tensors: Tensors, done: set[int], identity: dict[str, Any]) -> None:
    """Writes sums and the indices of the samples in them, atomically.

    Args:
        identity: Everything that must be the same for the sums to be gone on from.
    """
    indices = np.array(sorted(done), np.int64)
    write_tensors(path, tensors | {"done": indices}, {"identity": identity})


def read_partial(path: Path, identity: dict[str, Any]) -> tuple[Tensors, set[int]] | None:
    """Returns sums and sample indices, or None where there are none of this identity."""
    if not path.is_file():
        return None
    try:
        tensors, metadata = read_tensors(path)
    except LoraparError:
        return None
    if metadata.get("identity") != json.dumps(identity):
        return None
    return tensors, set(tensors.pop("done").tolist())
