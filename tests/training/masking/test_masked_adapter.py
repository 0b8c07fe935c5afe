"""An adapter with its mask: what is read, refused, loaded, saved and verified."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import adapter_parameters
from lorapar_cli.models.base_model import find_base_model
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.names import Flag, Stage
from lorapar_cli.store.mask_file import read_mask
from lorapar_cli.store.tensor_files import layout_fingerprint, read_tensors, write_tensors
from lorapar_cli.training.masking.masked_adapter import (
    MaskedAdapter,
    load_masked_model,
    read_masked_adapter,
    save_masked,
    verify_trained,
    whole_adapter,
)

WEIGHTS = "adapter_model.safetensors"


def places(run_dir):
    """Returns the folder of the scored adapter and the path of its mask."""
    mask = run_dir.folder(Stage.PARTITION) / "mask.safetensors"
    return run_dir.folder(Stage.SCORE) / "adapter", mask


def write_mask(path, flags):
    fingerprint = layout_fingerprint({name: array.shape for name, array in flags.items()})
    write_tensors(path, flags, {"fingerprint": fingerprint})
    return path


def load(run_dir, tiny_model_dir, start):
    return load_masked_model(
        find_base_model(str(tiny_model_dir)),
        start,
        dtype="float32",
        quantize=None,
        dropout=0.0,
        trust=False,
        engine=Engine.WHOLE,
    )


@pytest.mark.parametrize("flag", [Flag.SFT, Flag.RL])
def test_active_elements_are_those_with_the_flag_of_the_stage(run_dir, flag):
    folder, mask = places(run_dir)
    start = read_masked_adapter(folder, mask, flag)
    flags, _ = read_mask(mask)
    stored, _ = read_tensors(folder / WEIGHTS)
    assert start.weights.keys() == start.active.keys() == start.shapes.keys() == stored.keys()
    for name, array in stored.items():
        assert np.array_equal(start.active[name].numpy(), flags[name] & int(flag) > 0)
        assert np.array_equal(start.weights[name].numpy(), array)
        assert start.shapes[name] == array.shape
    assert start.active_count == sum(int((array & int(flag) > 0).sum()) for array in flags.values())
    assert start.element_count == sum(array.size for array in stored.values())
    assert start.raw_rank is None


def test_every_element_is_active_without_a_mask(run_dir):
    folder, _ = places(run_dir)
    start = read_masked_adapter(folder, None, Flag.SFT)
    assert start.active_count == start.element_count > 0


def test_an_adapter_in_half_precision_starts_from_its_values_in_single(run_dir, tmp_path):
    folder, _ = places(run_dir)
    own = shutil.copytree(folder, tmp_path / "half")
    path = own / "adapter_model.safetensors"
    halves = {name: array.astype(np.float16) for name, array in load_file(path).items()}
    save_file(halves, path)
    start = read_masked_adapter(own, None, Flag.SFT)
    for name, array in halves.items():
        assert start.weights[name].dtype is torch.float32
        assert np.array_equal(start.weights[name].numpy(), array.astype(np.float32))
    save_file({name: array.astype(np.int64) for name, array in halves.items()}, path)
    with pytest.raises(LoraparError, match="tensors that are no weights"):
        read_masked_adapter(own, None, Flag.SFT)


@pytest.mark.parametrize(("flag", "stage"), [(Flag.SFT, "train-sft"), (Flag.RL, "train-rl")])
def test_mask_that_activates_nothing_is_refused(run_dir, tmp_path, flag, stage):
    folder, mask = places(run_dir)
    flags, _ = read_mask(mask)
    # The flags of the other stage stay.
    none = {name: array & np.uint8(255 - flag) for name, array in flags.items()}
    with pytest.raises(LoraparError, match=f"no element is active in `{stage}`") as caught:
        read_masked_adapter(folder, write_mask(tmp_path / "none.safetensors", none), flag)
    assert "--theta" in caught.value.hint


def test_mask_of_another_adapter_is_refused(run_dir, tmp_path):
    folder, mask = places(run_dir)
    flags, _ = read_mask(mask)
    flags[min(flags)] = np.ones((3, 3), np.uint8)
    with pytest.raises(LoraparError, match="does not belong to this adapter"):
        read_masked_adapter(folder, write_mask(tmp_path / "other.safetensors", flags), Flag.SFT)


def test_second_half_of_a_doubled_adapter_is_frozen(make_run):
    folder, mask = places(make_run("pissa"))
    start = read_masked_adapter(folder, mask, Flag.SFT)
    flags, _ = read_mask(mask)
    assert start.raw_rank == 4
    assert start.active_count == sum(int((a & int(Flag.SFT) > 0).sum()) for a in flags.values())
    assert start.element_count == sum(array.size for array in flags.values())
    for name, active in start.active.items():
        assert active.shape == start.weights[name].shape
        assert start.shapes[name] == flags[name].shape
        second = active[4:] if ".lora_A" in name else active[:, 4:]
        assert second.numel() == active.numel() // 2
        assert not second.any()


def test_raw_part_that_is_not_lora_is_refused(run_dir):
    folder, mask = places(run_dir)
    raw = folder.with_name("adapter-raw")
    shutil.copytree(folder, raw)
    content = json.dumps({"peft_type": "IA3", "task_type": "CAUSAL_LM"})
    (raw / "adapter_config.json").write_text(content)
    with pytest.raises(LoraparError, match="is not a LoRA adapter") as caught:
        read_masked_adapter(folder, mask, Flag.SFT)
    assert "IA3" in caught.value.found


@pytest.mark.parametrize("init", ["orthogonal", "pissa"])
def test_what_is_loaded_is_what_is_saved_again(make_run, tiny_model_dir, tmp_path, init):
    run_dir = make_run(init)
    folder, mask = places(run_dir)
    start = read_masked_adapter(folder, mask, Flag.SFT)
    masked = load(run_dir, tiny_model_dir, start)
    for parameter in adapter_parameters(masked.model).values():
        assert parameter.dtype is torch.float32
        assert parameter.requires_grad
    values = whole_adapter(masked)
    assert all(torch.equal(values[name], stored) for name, stored in start.weights.items())
    save_masked(masked, values, tmp_path)
    for name in ("adapter", *(["adapter-raw"] if init == "pissa" else [])):
        was, now = (
            read_tensors(parent / name / WEIGHTS)[0] for parent in (folder.parent, tmp_path)
        )
        assert was.keys() == now.keys()
        assert all(np.array_equal(now[key], array) for key, array in was.items())
    assert (tmp_path / "adapter-raw").exists() is (init == "pissa")


@pytest.fixture
def start(tmp_path):
    """An adapter of one matrix, two of whose elements are active."""
    weights = {"a": torch.tensor([[1.0, 2.0], [3.0, 0.0]])}
    active = {"a": torch.tensor([[True, True], [False, False]])}
    return MaskedAdapter(tmp_path, weights, active, {"a": (2, 2)}, None)


def test_moved_elements_are_counted(start):
    assert verify_trained(start, {"a": torch.tensor([[1.5, 2.0], [3.0, 0.0]])}) == (1, 0)
    assert verify_trained(start, {"a": torch.tensor([[1.5, 2.5], [3.0, 0.0]])}) == (2, 0)


def test_frozen_element_that_moved_is_a_defect(start):
    with pytest.raises(AssertionError, match="1 frozen elements moved"):
        verify_trained(start, {"a": torch.tensor([[1.5, 2.5], [3.0, -0.0]])})


def test_training_that_moved_nothing_is_an_error(start):
    with pytest.raises(LoraparError, match="changed no element") as caught:
        verify_trained(start, start.weights)
    assert "--learning-rate" in caught.value.hint


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_training_that_diverged_is_an_error(start, value):
    with pytest.raises(LoraparError, match="made `a` infinite or NaN"):
        verify_trained(start, {"a": torch.tensor([[value, 2.0], [3.0, 0.0]])})
