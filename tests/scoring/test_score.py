"""`score` as a stage: what it writes, what it reuses, and what it refuses before it loads anything."""

import json
import shutil

import numpy as np
import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import System
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score import score
from lorapar_cli.store.records import write_records
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import read_tensors
from tests.conftest import CHAT_TEMPLATE
from tests.scoring.score_parts import run_score


def test_it_writes_what_the_next_stages_read(scored, tiny_model_dir):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tensors, metadata = read_tensors(scored / "score" / "importance.safetensors")
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    adapted = PeftModel.from_pretrained(base, str(scored / "score" / "adapter"))
    names = {key.partition("/")[2] for key in tensors}
    saved, _ = read_tensors(scored / "score" / "adapter" / "adapter_model.safetensors")
    assert names == set(saved)
    assert all(values.dtype == np.float32 for values in tensors.values())
    assert all(tensors[f"system1/{n}"].shape == saved[n].shape for n in names)
    assert json.loads(metadata["samples"]) == {"system1": 12, "system2": 12}
    assert adapted.peft_config["default"].r == 4
    assert RunDir(scored).base_model() == str(tiny_model_dir)


def test_the_manifest_records_what_was_resolved(tmp_path, scored, tiny_model_dir, splits):
    settings = RunDir(scored).manifest("score").settings
    assert list(settings) == [
        *("model", "samples", "target_modules", "r", "lora_alpha", "init", "init_scale"),
        *("rule", "formula", "movement_steps", "movement_rate", "movement_s2"),
        *("max_length", "batch_tokens", "packing", "dtype", "quantize", "attention", "template"),
        "template_arg",
        "seed",
    ]
    assert settings["model"] == str(tiny_model_dir)
    assert settings["target_modules"] == sorted(ScoreOptions().target_modules)
    assert settings["template"] is None
    path = tmp_path / "chat.jinja"
    path.write_text(CHAT_TEMPLATE)
    outcome = run_score(tmp_path / "run", tiny_model_dir, splits, template=path, samples=2)
    assert outcome.manifest.settings["template"] == CHAT_TEMPLATE


def test_the_same_command_twice_writes_the_same_bytes(scored, tmp_path, tiny_model_dir, splits):
    run_score(tmp_path / "again", tiny_model_dir, splits)
    for name in ("importance.safetensors", "adapter/adapter_model.safetensors"):
        first, second = (root / "score" / name for root in (scored, tmp_path / "again"))
        assert first.read_bytes() == second.read_bytes()


def test_the_same_settings_are_up_to_date(scored, tiny_model_dir, splits):
    assert not run_score(scored, tiny_model_dir, splits).fresh
    changed = tuple(reversed(ScoreOptions().target_modules))
    assert not run_score(scored, tiny_model_dir, splits, target_modules=changed).fresh


def test_other_weights_under_the_same_name_are_scored_again(tmp_path, tiny_model_dir, splits):
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    first = run_score(tmp_path / "run", folder, splits)
    assert not run_score(tmp_path / "run", folder, splits).fresh
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] *= 2
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    second = run_score(tmp_path / "run", folder, splits)
    assert second.fresh
    assert second.manifest.base_model["revision"] != first.manifest.base_model["revision"]


def test_a_missing_model_names_the_option(tmp_path, splits):
    with pytest.raises(UsageError, match="no base model") as raised:
        run_score(tmp_path, None, splits)
    assert "--model" in raised.value.hint
    assert not any(tmp_path.iterdir())


def test_empty_and_missing_splits(tmp_path, tiny_model_dir):
    with pytest.raises(LoraparError, match="labelled splits"):
        score(RunDir(tmp_path), ScoreOptions(model=str(tiny_model_dir)))
    for system in System:
        write_records(tmp_path / f"{system}.jsonl", [])
    with pytest.raises(LoraparError, match="no records"):
        run_score(tmp_path, tiny_model_dir, tmp_path)
