"""`inspect` against whole-file numpy, and files that it must refuse."""

import json

import numpy as np
import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Flag, System
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.store import importance_file as streaming
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import layout_fingerprint, read_tensors, write_tensors
from lorapar_cli.tools.inspect_file import inspect_file

SHAPES = {
    "base_model.model.layers.0.q_proj.lora_A.weight": (4, 30),
    "base_model.model.layers.0.q_proj.lora_B.weight": (50, 4),
    "base_model.model.layers.1.up_proj.lora_A.weight": (4, 20),
}


@pytest.fixture
def importance(tmp_path, monkeypatch):
    # Several pieces a tensor, as large files have them.
    monkeypatch.setattr(streaming, "_PIECE", 37)
    draw = np.random.default_rng(3)
    tensors = {
        f"{system}/{name}": np.round(draw.lognormal(0, 2, shape), 1).astype(np.float32)
        for system in System
        for name, shape in SHAPES.items()
    }
    path = tmp_path / "score" / "importance.safetensors"
    write_tensors(path, tensors, {"fingerprint": layout_fingerprint(SHAPES)})
    return path, tensors


def test_importance_equals_numpy(importance):
    path, tensors = importance
    report = inspect_file(path, top=25)
    for system in System:
        found = report["systems"][system]
        names = sorted(SHAPES)
        flat = np.concatenate([tensors[f"{system}/{n}"].ravel() for n in names]).astype(float)
        assert found["elements"] == flat.size
        assert found["total"] == pytest.approx(flat.sum())
        assert found["largest"] == flat.max()
        assert found["zeros"] == (flat == 0).sum()
        assert sum(found["share_by_kind"].values()) == pytest.approx(1)
        ranked = sorted(
            (
                (-value, name, index)
                for name in names
                for index, value in np.ndenumerate(tensors[f"{system}/{name}"])
            )
        )
        listed = [
            (-item["importance"], item["name"], tuple(item["index"])) for item in found["top"]
        ]
        assert listed == ranked[:25]


def test_mask_equals_numpy(importance, tmp_path):
    path, _ = importance
    outcome = partition(RunDir(tmp_path), PartitionOptions(alpha=0.5, importance=path))
    report = inspect_file(outcome.folder)
    mask, _ = read_tensors(outcome.folder / "mask.safetensors")
    flags = np.concatenate([part.ravel() for part in mask.values()])
    assert report["kind"] == "mask"
    assert report["regions"] == outcome.manifest.counts["regions"]
    assert report["active_sft"] == (flags & Flag.SFT > 0).sum()
    assert report["by_kind"]["q_proj B"]["elements"] == 200
    assert json.loads(report["metadata"]["counts"])["active_sft"] == report["active_sft"]


def test_one_tensor_by_a_part_of_its_name(importance):
    path, tensors = importance
    report = inspect_file(path, tensor="up_proj")
    name = "base_model.model.layers.1.up_proj.lora_A.weight"
    assert report["tensor"] == name
    assert report["systems"]["system1"]["largest"] == tensors[f"system1/{name}"].max()
    with pytest.raises(LoraparError, match="part of 2 names"):
        inspect_file(path, tensor="q_proj")
    with pytest.raises(LoraparError, match="no tensor"):
        inspect_file(path, tensor="o_proj")


def test_what_is_neither_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(LoraparError, match="no such file"):
        inspect_file(path)
    write_tensors(path, {"weight": np.zeros(3, np.float32)}, {})
    with pytest.raises(LoraparError, match="not an importance file"):
        inspect_file(path)
    path.write_bytes(b"nothing of the kind, but long enough to have a header length")
    with pytest.raises(LoraparError, match="not a safetensors file"):
        inspect_file(path)


def test_values_that_are_not_finite_are_counted_and_kept_out_of_the_figures(tmp_path):
    shapes = {"layers.0.q_proj.lora_A.weight": (2, 3)}
    values = np.array([[np.nan, 2, 0], [np.inf, 1, 4]], np.float32)
    path = tmp_path / "importance.safetensors"
    tensors = {f"{system}/layers.0.q_proj.lora_A.weight": values for system in System}
    write_tensors(path, tensors, {"fingerprint": layout_fingerprint(shapes)})
    found = inspect_file(path, top=1)["systems"]["system1"]
    assert (found["not_finite"], found["zeros"], found["total"]) == (2, 1, 7)
    assert found["share_by_kind"] == {"q_proj A": 1}
    assert found["top"][0]["importance"] == 4


def test_flags_that_no_mask_has_are_refused(tmp_path):
    path = tmp_path / "mask.safetensors"
    name = "base_model.model.layers.0.q_proj.lora_A.weight"
    write_tensors(path, {name: np.array([[0, 3, 200]], np.uint8)}, {})
    with pytest.raises(LoraparError, match="not a mask") as caught:
        inspect_file(path)
    assert caught.value.found == f"`{name}` has the value 200, flags go up to 15"
