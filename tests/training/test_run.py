"""What both stages share: which adapters may train, and under which engines."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.models.weights_digest import local_folder
from lorapar_cli.names import Flag, Stage
from lorapar_cli.training.inputs import find_training_inputs
from lorapar_cli.training.run import _find_engine, read_starting_adapter
from tests.training.training_runs import SFT


@pytest.fixture
def source(run_dir):
    return find_training_inputs(run_dir, SFT, Stage.TRAIN_SFT, "init")


def test_the_starting_adapter_belongs_to_its_base_model(source, tiny_model_dir):
    base, start = read_starting_adapter(source, Flag.SFT, trust=False)
    assert local_folder(base.id) == tiny_model_dir
    assert base.revision == source.revision
    assert 0 < start.active_count < start.element_count


def test_another_base_model_is_refused(source):
    other = dataclasses.replace(source, revision="local:0000000000000000")
    with pytest.raises(LoraparError, match="is not the one that the adapter was made for"):
        read_starting_adapter(other, Flag.SFT, trust=False)


def test_an_encoder_decoder_model_is_refused(source, tmp_path):
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5" / "config.json").write_text(json.dumps({"model_type": "t5", "num_layers": 1}))
    save_file({"shared.weight": np.zeros((2, 2), "f4")}, tmp_path / "t5" / "model.safetensors")
    other = dataclasses.replace(source, base_id=str(tmp_path / "t5"), revision=None)
    with pytest.raises(LoraparError, match="encoder-decoder"):
        read_starting_adapter(other, Flag.SFT, trust=False)


def test_a_quantized_base_is_not_divided(monkeypatch):
    quantized = dataclasses.replace(SFT, quantize="8bit")
    assert _find_engine(quantized) is Engine.WHOLE
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert _find_engine(SFT) is Engine.FSDP2
    with pytest.raises(LoraparError, match="quantized base model cannot be trained under FSDP2"):
        _find_engine(quantized)
