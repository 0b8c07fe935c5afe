"""safetensors files of any size, read piece by piece into one buffer.

The library maps a file into memory, where every page that was touched counts as memory of the
process.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System
from lorapar_cli.store.tensor_files import DTYPES, layout_fingerprint

_PIECE = 1 << 20
_NUMPY: dict[str, np.dtype[Any]] = {name: dtype for dtype, name in DTYPES.items()}


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
            with open(path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                size = path.stat().st_size
                if not 2 <= length <= size - 8:
                    raise ValueError(f"a header of {length} bytes in a file of {size}")
                header = json.loads(file.read(length))
            self.metadata: dict[str, str] = header.pop("__metadata__", None) or {}
            self.shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
            self._dtypes = {name: entry["dtype"] for name, entry in header.items()}
            self._places = {
                name: (8 + length + entry["data_offsets"][0], 8 + length + entry["data_offsets"][1])
                for name, entry in header.items()
            }
            if size < (end := max((end for _, end in self._places.values()), default=0)):
                raise ValueError(f"it has {size} bytes, its header names {end}")
            for name, (begin, end) in self._places.items():
                width = _NUMPY[self._dtypes[name]].itemsize if self._dtypes[name] in _NUMPY else 0
                if width and end - begin != self.size(name) * width:
                    raise ValueError(
                        f"`{name}` has {end - begin} bytes, which do not match its shape"
                    )
        except FileNotFoundError as cause:
            raise LoraparError(f"no such file: `{path}`") from cause
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
            raise LoraparError(f"`{path}` is not a safetensors file", str(cause)) from cause

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
