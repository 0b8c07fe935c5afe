"""Which models are evaluated, and that adapters belong to the base model."""

import json
import shutil
from pathlib import Path

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.adapters import (
    adapter_files,
    check_base,
    choose_models,
    unfinished_adapters,
)
from lorapar_cli.models.base_model import find_base_model
from lorapar_cli.names import Stage
from lorapar_cli.store.run_dir import RunDir


def test_by_default_the_base_model_and_what_the_run_has(run_dir, tmp_path):
    assert choose_models(run_dir, None) == {
        "base": None,
        "sft": run_dir.folder(Stage.TRAIN_SFT) / "adapter",
        "rl": run_dir.folder(Stage.TRAIN_RL) / "adapter",
    }
    assert choose_models(RunDir(tmp_path / "none"), None) == {"base": None}


def test_the_base_model_is_first_and_others_keep_their_order(run_dir):
    models = choose_models(run_dir, ["mine=a/b", "base", "sft"])
    assert list(models) == ["base", "mine", "sft"]
    assert models["mine"] == Path("a/b")


def test_only_a_stage_without_a_result_is_unfinished(run_dir):
    models = choose_models(run_dir, ["sft"])
    assert unfinished_adapters(run_dir, models) == []
    (run_dir.folder(Stage.TRAIN_RL) / "manifest.json").unlink()
    assert unfinished_adapters(run_dir, models) == [Stage.TRAIN_RL]


@pytest.mark.parametrize(
    ("adapter", "error", "message"),
    [
        ("stf", UsageError, "unknown adapter `stf`, did you mean `sft`"),
        ("base=somewhere", UsageError, "a name of its own"),
        ("=somewhere", UsageError, "a name of its own"),
        ("sft", LoraparError, "no adapter in run directory"),
    ],
)
def test_unknown_and_missing_adapters_are_refused(tmp_path, adapter, error, message):
    with pytest.raises(error, match=message):
        choose_models(RunDir(tmp_path), [adapter])


def test_a_name_that_stands_for_two_adapters_is_refused(run_dir):
    with pytest.raises(UsageError, match="`--adapter` names two models `mine`") as caught:
        choose_models(run_dir, ["base", "mine=first/one", "sft", "mine=second/one"])
    assert caught.value.found == "`mine=first/one`, `mine=second/one`"
    with pytest.raises(UsageError, match="names two models `sft`"):
        choose_models(run_dir, ["sft", "sft=elsewhere"])


def test_adapters_of_another_base_model_are_refused(run_dir, tmp_path, tiny_model_dir):
    models = choose_models(run_dir, None)
    check_base(run_dir, models, find_base_model(str(tiny_model_dir)), None)
    other = tmp_path / "other"
    shutil.copytree(tiny_model_dir, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rope_theta": 5.0}))
    with pytest.raises(LoraparError, match="model `sft` does not belong"):
        check_base(run_dir, models, find_base_model(str(other)), None)


def test_a_base_model_of_another_revision_is_refused(tmp_path, tiny_model_dir):
    base = find_base_model(str(tiny_model_dir))
    check_base(RunDir(tmp_path), {"base": None}, base, base.revision)
    with pytest.raises(LoraparError, match="model `base` does not belong") as caught:
        check_base(RunDir(tmp_path), {"base": None}, base, "local:other")
    assert "local:other" in caught.value.found


def test_files_that_decide_what_adapters_are(adapters):
    assert adapter_files({"base": None, "mine": adapters["sft"]}) == {
        "mine/config": adapters["sft"] / "adapter_config.json",
        "mine/weights": adapters["sft"] / "adapter_model.safetensors",
    }
    with pytest.raises(LoraparError, match="no adapter in `nowhere`"):
        adapter_files({"mine": Path("nowhere")})
