"""safetensors files of importance, masks and adapters; numpy only, so that no torch is needed."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import SCHEMA_VERSION
from lorapar_cli.store.publish import fsync_path

Tensors = dict[str, np.ndarray]


def layout_fingerprint(shapes: Mapping[str, Iterable[int]]) -> str:
    """Returns the hex sha256 over the sorted lines `<name> <shape>` of an adapter's tensors.

    A shape is written as JSON, for instance `[8, 128]`; lines end with a newline.
    """
    lines = sorted(f"{name} {json.dumps(list(shape))}\n" for name, shape in shapes.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_tensors(path: Path, tensors: Tensors, metadata: Mapping[str, object]) -> None:
    """Writes tensors and header metadata atomically; equal input gives equal bytes.

    Args:
        tensors: Name -> C-contiguous array.
        metadata: Becomes the header's strings; non-strings are written as JSON.
    """
    strings = {"schema": SCHEMA_VERSION} | dict(metadata)
    strings = {k: v if isinstance(v, str) else json.dumps(v) for k, v in strings.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, beside, metadata=strings)
        _sort_header(beside)
        fsync_path(beside)
        os.replace(beside, path)
        fsync_path(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _sort_header(path: Path) -> None:
    """Puts the header's metadata in order: the library writes it in a different one each time."""
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(ordered) > length:
            raise AssertionError("an ordered safetensors header outgrew the one it replaces")
        file.seek(8)
        file.write(ordered.ljust(length))


@contextmanager
def open_tensors(path: Path):
    """Yields a lazy reader (`keys`, `get_tensor`, `get_slice`, `metadata`) of a safetensors file.

    Raises:
        LoraparError: The file is missing or is no safetensors file.
    """
    try:
        handle = safe_open(path, framework="numpy")
    except FileNotFoundError as cause:
        raise LoraparError(f"no such file: `{path}`") from cause
    except (SafetensorError, OSError) as cause:
        raise LoraparError(f"`{path}` is not a safetensors file", str(cause)) from cause
    with handle as opened:
        yield opened


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Returns all tensors of a file and its header metadata."""
    with open_tensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Returns name -> shape of a file's tensors from its header alone."""
    with open_tensors(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
