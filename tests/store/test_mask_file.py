"""Masks: their flags, and files that are not masks or belong to another adapter."""

import numpy as np
import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Flag
from lorapar_cli.store.mask_file import active_elements, read_mask, require_same_layout
from lorapar_cli.store.tensor_files import layout_fingerprint, write_tensors


def test_a_mask_is_read_with_its_header(tmp_path):
    path = tmp_path / "mask.safetensors"
    flags = {"a": np.array([[0, 1], [4, 12]], np.uint8)}
    write_tensors(path, flags, {"fingerprint": layout_fingerprint({"a": (2, 2)}), "theta": 0.9})
    found, metadata = read_mask(path)
    assert found["a"].tolist() == [[0, 1], [4, 12]]
    assert metadata["theta"] == "0.9"
    assert active_elements(found, Flag.SFT)["a"].tolist() == [[False, False], [True, True]]
    assert active_elements(found, Flag.RL)["a"].tolist() == [[False, False], [False, True]]


def test_importance_is_not_taken_for_a_mask(tmp_path):
    path = tmp_path / "f.safetensors"
    write_tensors(path, {"a": np.ones(3, np.float32)}, {})
    with pytest.raises(LoraparError, match="not a mask"):
        read_mask(path)


def test_mask_with_another_fingerprint_is_damaged(tmp_path):
    path = tmp_path / "f.safetensors"
    write_tensors(path, {"a": np.ones(3, np.uint8)}, {"fingerprint": "0"})
    with pytest.raises(LoraparError, match="damaged"):
        read_mask(path)


def test_first_difference_of_layouts_is_named(tmp_path):
    mask = {"a": np.zeros((2, 2), np.uint8)}
    require_same_layout(tmp_path, mask, tmp_path, {"a": (2, 2)})
    with pytest.raises(LoraparError) as caught:
        require_same_layout(tmp_path, mask, tmp_path, {"a": (2, 3)})
    assert "`a` is (2, 2)" in caught.value.found
