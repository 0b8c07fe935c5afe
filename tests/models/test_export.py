"""Exports compute what was trained, and an export that does not is an error."""

import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lorapar_cli.errors import LoraparError
from lorapar_cli.models import export as exporting
from lorapar_cli.models.adapter import adapter_parameters, create_adapter, save_adapter
from lorapar_cli.models.base_model import find_base_model, load_base
from lorapar_cli.models.export import export


@pytest.fixture(scope="module")
def base(tiny_model_dir):
    return find_base_model(str(tiny_model_dir))


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    """An adapter whose values move the logits."""
    model = create_adapter(
        load_base(base), r=4, lora_alpha=8, target_modules=["q_proj"], init="gaussian", seed=0
    )
    with torch.no_grad():
        for parameter in adapter_parameters(model).values():
            torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(model, folder)
    return folder


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval().float()(torch.arange(4, 40).unsqueeze(0)).logits


def trained(base, adapter):
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.path), adapter)


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_merged_weights(base, adapter, tmp_path, dtype):
    difference = export(
        base, adapter, tmp_path, True, dtype, False, template="{{ messages[0].content }}"
    )
    merged = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    half = dtype == "bfloat16"
    assert merged.dtype == (torch.bfloat16 if half else torch.float32)
    # Rounding to bfloat16 is seen, and not more than its tolerance allows.
    assert (difference > exporting.TOLERANCE) == half
    expected = logits(trained(base, adapter))
    torch.testing.assert_close(logits(merged), expected, rtol=0, atol=0.1 if half else 1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == "{{ messages[0].content }}"


def test_auto_is_the_dtype_that_the_base_is_stored_in(base, adapter, tiny_model_dir, tmp_path):
    stored = shutil.copytree(tiny_model_dir, tmp_path / "stored")
    AutoModelForCausalLM.from_pretrained(stored, dtype=torch.bfloat16).save_pretrained(stored)
    (tmp_path / "out").mkdir()
    export(find_base_model(str(stored)), adapter, tmp_path / "out", True, "auto", False)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_adapter_alone(base, adapter, tmp_path):
    assert export(base, adapter, tmp_path, False, "auto", False) < exporting.TOLERANCE
    written = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.path), tmp_path)
    torch.testing.assert_close(logits(written), logits(trained(base, adapter)))
    assert not torch.allclose(
        logits(written), logits(AutoModelForCausalLM.from_pretrained(base.path)), atol=1e-3
    )


def test_weights_that_compute_something_else_are_an_error(base, adapter, tmp_path, monkeypatch):
    load = exporting._load_plainly

    def load_damaged(base, built, merged, trust):
        path = built / "adapter_model.safetensors"
        tensors = load_file(path)
        tensors[min(tensors)] *= -2
        save_file(tensors, path, metadata={"format": "pt"})
        return load(base, built, merged, trust)

    monkeypatch.setattr(exporting, "_load_plainly", load_damaged)
    with pytest.raises(LoraparError, match="does not compute what was trained") as raised:
        export(base, adapter, tmp_path, False, "auto", False)
    assert "a logit differs by" in raised.value.found
