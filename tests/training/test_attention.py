"""Implementations of attention: the same training up to rounding, and what cannot run is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lorapar_cli.errors import LoraparError
from lorapar_cli.models import base_model
from lorapar_cli.models.base_model import require_attention
from lorapar_cli.names import Stage
from lorapar_cli.store.tensor_files import read_tensors
from lorapar_cli.training.train_sft import train_sft
from tests.training.training_runs import SFT


def trained(run_dir, attention):
    options = replace(SFT, attention=attention, max_steps=3, overwrite=True)
    manifest = train_sft(run_dir, options).manifest
    assert manifest.counts["frozen_moved"] == 0
    assert manifest.settings["attention"] == attention
    folder = run_dir.folder(Stage.TRAIN_SFT) / "adapter"
    return read_tensors(folder / "adapter_model.safetensors")[0]


def test_eager_and_sdpa_train_alike(run_dir):
    own, eager, sdpa = (trained(run_dir, name) for name in (None, "eager", "sdpa"))
    for name, values in sdpa.items():
        # The model's own choice is `sdpa`.
        assert np.array_equal(values, own[name])
        np.testing.assert_allclose(values, eager[name], rtol=0, atol=1e-5)
    assert any(not np.array_equal(values, eager[name]) for name, values in sdpa.items())


def test_flash_attention_is_refused_before_a_model_is_loaded(run_dir):
    with pytest.raises(LoraparError, match="flash_attention_2") as caught:
        train_sft(run_dir, replace(SFT, attention="flash_attention_2"))
    if not torch.cuda.is_available():
        assert "no GPU" in caught.value.found
    assert caught.value.hint
    assert not run_dir.folder(Stage.TRAIN_SFT).exists()


@pytest.mark.parametrize(
    ("package", "dtype", "said"),
    [
        (None, torch.bfloat16, "flash-attn is not installed"),
        (object(), torch.float32, "half precision only"),
        (object(), torch.bfloat16, None),
    ],
)
def test_what_flash_attention_needs_on_a_gpu(monkeypatch, package, dtype, said):
    monkeypatch.setattr(base_model.importlib.util, "find_spec", lambda _: package)
    device = torch.device("cuda", 0)
    if said is None:
        require_attention("flash_attention_2", dtype, device)
        return
    with pytest.raises(LoraparError) as caught:
        require_attention("flash_attention_2", dtype, device)
    assert said in caught.value.found
