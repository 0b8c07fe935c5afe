"""Large safetensors files read piece by piece: the same values, and damage that is named."""

import numpy as np
import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System
from lorapar_cli.store import importance_file
from lorapar_cli.store.importance_file import ImportanceFile, TensorFile
from lorapar_cli.store.tensor_files import layout_fingerprint, write_tensors

SHAPES = {"l.q_proj.lora_A.weight": (4, 30), "l.q_proj.lora_B.weight": (50, 4)}


def draw_tensors() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {
        f"{system}/{name}": draw.lognormal(0, 2, shape).astype(np.float32)
        for system in System
        for name, shape in SHAPES.items()
    }


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "importance.safetensors"
    write_tensors(path, draw_tensors(), {"fingerprint": layout_fingerprint(SHAPES)})
    return path


@pytest.mark.parametrize("piece", [1, 37, 120, 1 << 20])
def test_pieces_are_the_tensor_in_order(path, monkeypatch, piece):
    monkeypatch.setattr(importance_file, "_PIECE", piece)
    file = TensorFile(path)
    for name, expected in draw_tensors().items():
        pieces = list(file.pieces(name))
        assert [part.size for part in pieces] == file.piece_sizes(name)
        assert max(part.size for part in pieces) <= piece
        assert (np.concatenate(pieces) == expected.ravel()).all()
        assert (file.read(name) == expected).all()
        assert file.dtype(name) == "F32"
        assert file.size(name) == expected.size


def test_an_importance_file_knows_its_layout(path):
    file = ImportanceFile(path)
    assert file.names == sorted(SHAPES)
    assert file.layout == SHAPES
    assert file.fingerprint == layout_fingerprint(SHAPES)


def test_an_empty_tensor_is_read(tmp_path):
    path = tmp_path / "f.safetensors"
    write_tensors(path, {"a": np.zeros((0, 3), np.float32)}, {})
    assert TensorFile(path).read("a").shape == (0, 3)


def drop_last(tensors):
    del tensors["system2/l.q_proj.lora_B.weight"]


def use_float64(tensors):
    tensors["system1/l.q_proj.lora_A.weight"] = np.zeros((4, 30))


def name_a_third_system(tensors):
    tensors["system3/l.q_proj.lora_A.weight"] = np.zeros((4, 30), np.float32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_last, "does not contain the same matrices for both systems"),
        (use_float64, "is not an importance file"),
        (name_a_third_system, "is not an importance file"),
        (dict.clear, "does not contain the same matrices for both systems"),
    ],
)
def test_files_that_are_not_importance_are_refused(tmp_path, change, words):
    tensors = draw_tensors()
    change(tensors)
    path = tmp_path / "importance.safetensors"
    write_tensors(path, tensors, {"fingerprint": layout_fingerprint(SHAPES)})
    with pytest.raises(LoraparError) as caught:
        ImportanceFile(path)
    assert words in caught.value.what


def test_tensors_that_do_not_match_the_fingerprint_are_refused(tmp_path):
    path = tmp_path / "importance.safetensors"
    write_tensors(path, draw_tensors(), {"fingerprint": "0" * 64})
    with pytest.raises(LoraparError, match="does not match its own layout fingerprint"):
        ImportanceFile(path)


def test_a_truncated_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LoraparError, match="not a safetensors file") as raised:
        TensorFile(path)
    assert "its header names" in raised.value.found


def test_offsets_that_do_not_match_the_shapes_are_refused(path):
    content = path.read_bytes()
    damaged = content.replace(b'"shape":[4,30]', b'"shape":[4,31]')
    assert damaged != content
    path.write_bytes(damaged)
    with pytest.raises(LoraparError, match="not a safetensors file") as raised:
        TensorFile(path)
    assert "not those of its shape" in raised.value.found


@pytest.mark.parametrize("content", [b"", b"\xff" * 16, b"\x02\0\0\0\0\0\0\0[]", None])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "f.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoraparError, match=r"f\.safetensors"):
        TensorFile(path)
