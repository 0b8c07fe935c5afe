"""safetensors: equal input gives equal bytes, and wrong files are named."""

import hashlib
import subprocess
import sys
import weakref

import numpy as np
import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.tensor_files import (
    layout_fingerprint,
    read_shapes,
    read_tensors,
    stream_tensors,
)

WRITE = """
import pathlib, sys, numpy as np
from lorapar_cli.store.tensor_files import write_tensors
tensors = {"b": np.arange(6, dtype=np.uint8).reshape(2, 3), "a": np.ones(3, np.float32)}
write_tensors(pathlib.Path(sys.argv[1]), tensors, {k: {"n": k} for k in "zyxwvuts"})
"""


def test_equal_input_gives_equal_bytes_in_every_process(tmp_path):
    """The library writes header metadata in an order that differs from process to process."""
    digests = set()
    for number in range(4):
        path = tmp_path / str(number)
        subprocess.run([sys.executable, "-c", WRITE, str(path)], check=True)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1
    tensors, metadata = read_tensors(path)
    assert tensors["b"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert metadata["z"] == '{"n": "z"}'
    assert metadata["schema"] == "1"
    assert read_shapes(path) == {"a": (3,), "b": (2, 3)}


def test_only_one_tensor_is_held_while_others_are_written(tmp_path):
    values = {"a": np.arange(4, dtype=np.float32), "b": np.arange(6).reshape(2, 3)}
    held: list[weakref.ref] = []

    def read(name):
        assert all(each() is None for each in held)
        copy = values[name].copy()
        held.append(weakref.ref(copy))
        return copy

    layout = {"a": ("F32", (4,)), "b": ("I64", (2, 3))}
    stream_tensors(tmp_path / "x.safetensors", layout, read, {"format": "pt"})
    assert len(held) == 2
    written, metadata = read_tensors(tmp_path / "x.safetensors")
    assert metadata == {"format": "pt"}
    assert all(np.array_equal(written[name], values[name]) for name in values)


def test_fingerprint_is_over_sorted_lines():
    text = "a [8, 4]\nb [2]\n"
    assert layout_fingerprint({"b": (2,), "a": (8, 4)}) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_missing_or_foreign_file_is_named(tmp_path, content):
    path = tmp_path / "f.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoraparError, match=r"f\.safetensors"):
        read_tensors(path)
