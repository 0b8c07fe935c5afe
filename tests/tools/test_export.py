"""Exports compute what was trained, loaded by plain transformers and PEFT."""

from typing import get_args

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Stage
from lorapar_cli.store.run_dir import ADAPTERS, AdapterName
from lorapar_cli.tools.export import ExportOptions, export
from lorapar_cli.training.options import SftOptions
from lorapar_cli.training.train_sft import train_sft

SFT = SftOptions(learning_rate=1e-2, max_steps=2, per_device_batch_size=4, gradient_accumulation=1)


def logits(model):
    with torch.no_grad():
        return model.eval()(torch.arange(4, 40).unsqueeze(0)).logits


@pytest.mark.parametrize("init", ["orthogonal", "pissa", "olora", "gaussian"])
@pytest.mark.parametrize("merge", [False, True])
def test_export_gives_the_trained_logits(make_run, tmp_path, tiny_model_dir, init, merge):
    run = make_run(init)
    train_sft(run, SFT)
    out = tmp_path / "out"
    difference = export(run, ExportOptions(out, what="sft", merge=merge, check_logits=True))
    assert difference < 1e-4
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    plain = logits(base)
    folder = run.folder(Stage.TRAIN_SFT) / "adapter"
    trained = logits(PeftModel.from_pretrained(base, folder))
    if merge:
        written = AutoModelForCausalLM.from_pretrained(out)
    else:
        fresh = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
        written = PeftModel.from_pretrained(fresh, out)
    torch.testing.assert_close(logits(written), trained, rtol=0, atol=1e-4)
    assert not torch.allclose(plain, trained, atol=1e-3)


def test_export_never_writes_over_something(run_dir, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(LoraparError, match="not empty"):
        export(run_dir, ExportOptions(tmp_path / "out", what="init"))
    assert (tmp_path / "out" / "mine").read_text() == "keep"


def test_a_file_where_the_folder_is_to_be_is_named(run_dir, tmp_path):
    (tmp_path / "out").write_text("keep")
    with pytest.raises(LoraparError, match="out` is a file"):
        export(run_dir, ExportOptions(tmp_path / "out", what="init"))
    assert (tmp_path / "out").read_text() == "keep"


def test_export_that_computes_something_else_is_not_published(run_dir, tmp_path, monkeypatch):
    from lorapar_cli.models.measuring import logits as measuring

    monkeypatch.setattr(measuring, "TOLERANCE", -1.0)
    with pytest.raises(LoraparError, match="does not compute"):
        export(run_dir, ExportOptions(tmp_path / "out", what="init", merge=True, check_logits=True))
    assert not (tmp_path / "out").exists()


def test_an_adapter_needs_no_base_model(run_dir, tmp_path, monkeypatch):
    from lorapar_cli.models import base_model

    def fail(*_, **__):
        raise AssertionError("a base model was looked for")

    for name in ("load_base", "find_base_model", "load_tokenizer"):
        monkeypatch.setattr(base_model, name, fail)
    assert export(run_dir, ExportOptions(tmp_path / "out", what="init")) is None
    trained = run_dir.folder(Stage.SCORE) / "adapter" / "adapter_model.safetensors"
    assert (tmp_path / "out" / trained.name).read_bytes() == trained.read_bytes()


def test_the_dtype_of_an_adapter_is_refused(run_dir, tmp_path):
    with pytest.raises(UsageError, match="--dtype bfloat16"):
        export(run_dir, ExportOptions(tmp_path / "out", what="init", dtype="bfloat16"))


def test_unfinished_stage_is_named(run_dir, tmp_path):
    with pytest.raises(LoraparError, match="adapter of `rl`"):
        export(run_dir, ExportOptions(tmp_path / "out", what="rl"))


@pytest.mark.parametrize(("name", "value"), [("dtype", "foo"), ("what", "base")])
def test_unknown_choices_are_refused(tmp_path, name, value):
    with pytest.raises(UsageError, match=f"`--{name}` has no `{value}`"):
        ExportOptions(tmp_path / "out", **{name: value})


def test_every_adapter_of_a_run_can_be_exported():
    assert get_args(AdapterName) == tuple(ADAPTERS)
