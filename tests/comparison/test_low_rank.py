"""Plain LoRA of a lower rank, alone and added to an adapter."""

import shutil

import numpy as np
import pytest
import torch

from lorapar_cli.comparison.low_rank import (
    elements_per_rank,
    nearest_rank,
    write_extended,
    write_low_rank,
)
from lorapar_cli.models.adapter import load_adapter
from lorapar_cli.models.base_model import find_base_model, load_base
from lorapar_cli.names import Flag, Stage
from lorapar_cli.store.mask_file import active_elements, read_mask
from lorapar_cli.store.tensor_files import read_tensors
from lorapar_cli.training.masking.masked_adapter import read_masked_adapter

TOKENS = torch.tensor([[5, 9, 30, 77, 4]])


@pytest.fixture
def adapter(run_dir, tmp_path):
    """A copy of the scored adapter outside of its stage, which may be changed."""
    return shutil.copytree(run_dir.folder(Stage.SCORE) / "adapter", tmp_path / "own/adapter")


def logits(model_dir, adapter):
    base = load_base(find_base_model(str(model_dir)), "float32")
    model = base if adapter is None else load_adapter(base, adapter, trainable=False)
    with torch.inference_mode():
        return model(input_ids=TOKENS).logits


def test_the_nearest_rank(adapter):
    tensors, _ = read_tensors(adapter / "adapter_model.safetensors")
    each = sum(tensor.size for tensor in tensors.values()) // 4
    assert elements_per_rank(adapter) == each
    wanted = {
        1: 1,
        each: 1,
        each + each // 2: 1,
        3 * each // 2 + 1: 2,
        3 * each - 1: 3,
        9 * each: 9,
    }
    assert {size: nearest_rank(adapter, size) for size in wanted} == wanted


def test_plain_lora_is_the_base_model_and_trains_every_element(adapter, tiny_model_dir, tmp_path):
    write_low_rank(adapter, 3, 7, tmp_path / "low")
    made = tmp_path / "low" / "adapter"
    assert torch.equal(logits(tiny_model_dir, made), logits(tiny_model_dir, None))
    start = read_masked_adapter(made, None, Flag.SFT)
    assert start.active_count == start.element_count == 3 * elements_per_rank(made)
    for name, tensor in start.weights.items():
        assert bool(tensor.any()) == (".lora_A" in name)
    # The run's scaling: lora_alpha 8 at r = 4.
    assert '"lora_alpha": 6' in (made / "adapter_config.json").read_text()


def test_the_same_seed_gives_the_same_bytes(adapter, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_low_rank(adapter, 2, seed, tmp_path / name)
    files = [(tmp_path / n / "adapter/adapter_model.safetensors").read_bytes() for n in "abc"]
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("lora_alpha", [8, 7])
def test_further_ranks_keep_the_function_and_alone_are_active(
    adapter, tiny_model_dir, tmp_path, lora_alpha
):
    """With lora_alpha 7 at r = 4 no whole number gives rank 7 the same scaling."""
    weights = adapter / "adapter_model.safetensors"
    config = adapter / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 8', f'"lora_alpha": {lora_alpha}'))
    # As scored the adapter changes nothing: B is negated in half of its ranks.
    from safetensors.numpy import load_file, save_file

    save_file({n: np.abs(t) for n, t in load_file(weights).items()}, weights)
    write_extended(adapter, 3, 0, tmp_path / "more")
    made, mask = tmp_path / "more/adapter", tmp_path / "more/mask.safetensors"
    before = logits(tiny_model_dir, adapter)
    assert not torch.allclose(before, logits(tiny_model_dir, None), atol=1e-2)
    torch.testing.assert_close(logits(tiny_model_dir, made), before, rtol=1e-4, atol=1e-4)
    start = read_masked_adapter(made, mask, Flag.RL)
    assert start.active_count == 3 * elements_per_rank(adapter)
    active = active_elements(read_mask(mask)[0], Flag.RL)
    for name, chosen in active.items():
        new = chosen[4:] if ".lora_A" in name else chosen[:, 4:]
        assert new.all()
        assert chosen.sum() == new.size
