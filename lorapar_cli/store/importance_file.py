"""safetensors files of any size, read piece by piece into one buffer.

The library maps a file into memory, where every page that was touched counts as memory of the
process.
"""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.mismatch import find_mismatch
from lorapar_cli.store.disk.regular_files import open_regular
from lorapar_cli.store.tensor_files import DTYPES, layout_fingerprint

_PIECE = 1 << 20
_NUMPY: dict[str, np.dtype[Any]] = {name: dtype for dtype, name in DTYPES.items()}


class _Entry(TypedDict):
    """What a header says of a tensor."""

    dtype: str
    shape: list[int]
    data_offsets: list[int]


class TensorFile:
    """A safetensors file's header, and its tensors on demand.

    Attributes:
        path: The file.
        metadata: The header's metadata, name -> string.
        shapes: Name -> shape.

    Raises:
        LoraparError: The file is missing, damaged or truncated.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with open_regular(path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                size = os.fstat(file.fileno()).st_size
                if not 2 <= length <= size - 8:
                    raise ValueError(f"a header of {counted(length, 'byte')} in a file of {size}")
                header = json.loads(file.read(length))
            if mismatch := find_mismatch(header, dict[str, dict[str, Any]], "header"):
                raise ValueError(mismatch)
            metadata = header.pop("__metadata__", {})
            if mismatch := find_mismatch(metadata, dict[str, str], "metadata"):
                raise ValueError(mismatch)
            self.metadata: dict[str, str] = metadata
            for name, entry in header.items():
                if mismatch := find_mismatch(entry, _Entry, name):
                    raise ValueError(mismatch)
            self._read_layout(header, 8 + length, size)
        except (OSError, ValueError, RecursionError, MemoryError) as cause:
            raise LoraparError(f"`{path}` is not a safetensors file", str(cause)) from cause

    def _read_layout(self, header: "dict[str, _Entry]", start: int, size: int) -> None:
        """Takes shapes and places over.

        Args:
            start: Offset of the first tensor's bytes.
            size: Of the file, bytes.

        Raises:
            ValueError: They contradict each other, or the file's size.
        """
        self.shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
        self._dtypes = {name: entry["dtype"] for name, entry in header.items()}
        self._places = {}
        expected = start
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            if len(entry["data_offsets"]) != 2 or any(side < 0 for side in entry["shape"]):
                raise ValueError(f"`{name}` has shape {entry['shape']}, {entry['data_offsets']}")
            begin, end = (start + offset for offset in entry["data_offsets"])
            if begin != expected or end < begin:
                raise ValueError(f"`{name}` is at {begin} to {end}, not from {expected}")
            self._places[name] = (begin, end)
            expected = end
            width = _NUMPY[entry["dtype"]].itemsize if entry["dtype"] in _NUMPY else 0
            if width and end - begin != math.prod(entry["shape"]) * width:
                raise ValueError(
                    f"`{name}` has {counted(end - begin, 'byte')}, not those of its shape"
                )
        if size != expected:
            raise ValueError(f"it has {counted(size, 'byte')}, its header names {expected}")

    def dtype(self, name: str) -> str:
        """Returns a tensor's dtype by its name in the format (`F32`, `U8`)."""
        return self._dtypes[name]

    def size(self, name: str) -> int:
        """Returns a tensor's number of elements."""
        return int(np.prod(self.shapes[name], dtype=np.int64))

    def piece_sizes(self, name: str) -> list[int]:
        """Returns the number of elements of each piece of a tensor."""
        whole, rest = divmod(self.size(name), _PIECE)
        return [_PIECE] * whole + [rest] * bool(rest)

    def pieces(self, name: str) -> Iterator[np.ndarray]:
        """Yields a tensor's elements in order, flat, in pieces of at most 2**20 elements."""
        dtype = _NUMPY[self._dtypes[name]]
        begin, end = self._places[name]
        with open(self.path, "rb", buffering=0) as file:
            file.seek(begin)
            for place in range(begin, end, _PIECE * dtype.itemsize):
                count = min(_PIECE, (end - place) // dtype.itemsize)
                yield np.fromfile(file, dtype, count)

    def read(self, name: str) -> np.ndarray:
        """Returns a whole tensor."""
        pieces = list(self.pieces(name)) or [np.zeros(0, _NUMPY[self._dtypes[name]])]
        return np.concatenate(pieces).reshape(self.shapes[name])


class ImportanceFile(TensorFile):
    """An `importance.safetensors` file whose layout has been checked.

    Attributes:
        names: The matrices' names, sorted.
        layout: Name -> shape.
        fingerprint: The layout fingerprint.

    Raises:
        LoraparError: It is not an importance file, or its tensors do not match its fingerprint.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        layouts: dict[str, dict[str, tuple[int, ...]]] = {system.value: {} for system in System}
        for key, shape in self.shapes.items():
            system, _, name = key.partition("/")
            if system not in layouts or not name or self.dtype(key) != "F32":
                raise LoraparError(
                    f"`{path}` is not an importance file",
                    f"tensor `{key}` has dtype {self.dtype(key)}",
                    "importance files come from `lorapar score`",
                )
            layouts[system][name] = shape
        first, second = layouts.values()
        if first != second or not first:
            differing = sorted({name for name, _ in first.items() ^ second.items()})
            raise LoraparError(
                f"`{path}` does not contain the same matrices for both systems",
                ", ".join(differing[:5]) or "no tensors",
                "run `lorapar score` again",
            )
        self.fingerprint = layout_fingerprint(first)
        if self.metadata.get("fingerprint") != self.fingerprint:
            raise LoraparError(
                f"`{path}` does not match its own layout fingerprint",
                f"header {self.metadata.get('fingerprint')}\ntensors {self.fingerprint}",
                "the file was changed after it was written; run `lorapar score` again",
            )
        self.layout = first
        self.names = sorted(first)
