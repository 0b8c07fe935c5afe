"""Base models are loaded to where they are to lie."""

import os

import pytest
import torch

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.base_model import find_base_model, load_base
from lorapar_cli.models.placement import loading
from lorapar_cli.models.placement.loading import load_placed
from lorapar_cli.models.placement.placement import WHOLE, Placement


@pytest.fixture
def base(tiny_model_dir):
    return find_base_model(str(tiny_model_dir))


@pytest.mark.parametrize("placement", [WHOLE, Placement(device_map=True)])
def test_the_weights_are_those_of_the_folder(base, placement):
    expected = load_base(base).state_dict()
    found = load_placed(base, placement).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_model_that_does_not_fit_on_the_gpus_is_refused(base, monkeypatch):
    """The library would leave layers in main memory, where each token waits for them."""
    model = load_base(base)
    model.hf_device_map = {"model.layers.0": 0, "model.layers.1": "cpu", "lm_head": "disk"}
    monkeypatch.setattr(loading, "load_base", lambda *_, **__: model)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(LoraparError, match="does not fit on the GPUs") as caught:
        load_placed(base, Placement(device_map=True))
    assert "`lm_head` and 1 other" in caught.value.found


def test_every_process_reads_and_the_launcher_is_left_as_it_was(monkeypatch):
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    with loading._every_process_reads():
        assert "FSDP_CPU_RAM_EFFICIENT_LOADING" not in os.environ
    assert os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "true"
