"""safetensors files of importance, masks and adapters, through numpy: torch is not needed."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import SCHEMA_VERSION
from lorapar_cli.plurals import counted
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.disk.regular_files import require_regular

Tensors = dict[str, np.ndarray]

DTYPES: dict[np.dtype[Any], str] = {
    np.dtype(np.float64): "F64",
    np.dtype(np.float32): "F32",
    np.dtype(np.float16): "F16",
    np.dtype(np.int64): "I64",
    np.dtype(np.int32): "I32",
    np.dtype(np.uint8): "U8",
    np.dtype(bool): "BOOL",
}

TYPE_BYTES = {
    **{name: dtype.itemsize for dtype, name in DTYPES.items()},
    **{"BF16": 2, "I16": 2, "I8": 1, "U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1},
}
"""Type in a file's header -> bytes of one value; those of less than a byte are not among them."""


def layout_fingerprint(shapes: Mapping[str, Iterable[int]]) -> str:
    """Returns the hex sha256 over the sorted lines `<name> <shape>` of an adapter's tensors.

    A shape is written as JSON, for instance `[8, 128]`; lines end with a newline.
    """
    lines = sorted(f"{name} {json.dumps(list(shape))}\n" for name, shape in shapes.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_tensors(path: Path, tensors: Tensors, metadata: Mapping[str, object]) -> None:
    """Writes tensors and header metadata atomically; equal input gives equal bytes.

    The library's own writer writes metadata in a different order each time, and copies all tensors
    before it writes the first.

    Args:
        tensors: Name -> array.
        metadata: Strings of the header; other values are written as JSON.
    """
    layout = {name: (DTYPES[each.dtype], each.shape) for name, each in tensors.items()}
    stream_tensors(path, layout, tensors.__getitem__, {"schema": SCHEMA_VERSION} | dict(metadata))


def stream_tensors(
    path: Path,
    layout: Mapping[str, tuple[str, Sequence[int]]],
    read: Callable[[str], np.ndarray],
    metadata: Mapping[str, object],
) -> None:
    """Writes tensors as `write_tensors` does, one after the other, so that memory holds one of them.

    Args:
        layout: Name -> type, a key of `TYPE_BYTES`, and shape.
        read: Returns a tensor's values; of types that numpy does not know, their bytes.
        metadata: As in `write_tensors`, without a schema of ours.
    """
    strings = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    header: dict[str, object] = {"__metadata__": dict(sorted(strings.items()))}
    order = sorted(layout, key=lambda name: (-TYPE_BYTES[layout[name][0]], name))
    sizes = {name: TYPE_BYTES[kind] * math.prod(shape) for name, (kind, shape) in layout.items()}
    end = 0
    for name in order:
        begin, end = end, end + sizes[name]
        kind, shape = layout[name]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded = encoded.ljust(-(-len(encoded) // 8) * 8)
    with atomic_file(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for name in order:
            values = np.ascontiguousarray(read(name)).reshape(-1).view(np.uint8)
            if values.nbytes != sizes[name]:
                raise AssertionError(
                    f"{name} has {counted(values.nbytes, 'byte')}, not {sizes[name]}"
                )
            file.write(values.data)
            del values  # Before the next one is read.


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """Yields a lazy reader (`keys`, `get_tensor`, `get_slice`, `metadata`) of a safetensors file.

    Raises:
        LoraparError: The file is missing or is not a safetensors file.
    """
    require_regular(path)
    try:
        handle = safe_open(path, framework="numpy")
    except (SafetensorError, OSError, ValueError) as cause:
        raise LoraparError(f"`{path}` is not a safetensors file", str(cause)) from cause
    with handle as opened:
        yield opened


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Returns all tensors of a file and its header metadata."""
    with open_tensors(path) as file:
        try:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, TypeError, AttributeError) as cause:
            # numpy has no bfloat16 or float8.
            raise LoraparError(f"`{path}` holds tensors of an unknown type", str(cause)) from cause
        return tensors, file.metadata() or {}


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Returns name -> shape of a file's tensors from its header alone."""
    with open_tensors(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
