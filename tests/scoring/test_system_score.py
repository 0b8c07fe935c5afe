"""The importance of each formula, and importance that no partition could be cut from."""

import json
import shutil

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import read_tensors
from tests.scoring.score_parts import importance_of, relative_norm, run_score


@pytest.mark.parametrize("formula", ["taylor1", "fisher", "magnitude", "random"])
def test_every_formula_can_be_partitioned(scored, tmp_path, tiny_model_dir, splits, formula):
    run_score(tmp_path, tiny_model_dir, splits, formula=formula)
    found = importance_of(tmp_path)
    assert relative_norm(found, importance_of(scored)) > 1e-4
    outcome = partition(RunDir(tmp_path), PartitionOptions())
    same = all(
        (found[f"system1/{n}"] == found[f"system2/{n}"]).all()
        for n in (name.partition("/")[2] for name in found)
    )
    assert same == (formula == "magnitude")
    assert (outcome.manifest.metrics["jaccard"] == 1) == same


@pytest.mark.parametrize(
    ("init", "frozen"), [("default", "A"), ("gaussian", "A"), ("eva", "A"), ("mica", "B")]
)
def test_fisher_scores_what_has_a_gradient_where_half_of_the_adapter_is_zero(
    tmp_path, tiny_model_dir, splits, init, frozen
):
    """With B = 0 no loss depends on A yet, and the other way round: B of `mica` stays frozen."""
    outcome = run_score(tmp_path, tiny_model_dir, splits, init=init, formula="fisher")
    assert outcome.manifest.metrics["step0_logit_difference"] == 0
    found = importance_of(tmp_path)
    assert all(values.any() != (f".lora_{frozen}." in name) for name, values in found.items())
    mask, _ = read_tensors(
        partition(RunDir(tmp_path), PartitionOptions(theta=1.0)).folder / "mask.safetensors"
    )
    assert not any(flags.any() for name, flags in mask.items() if f".lora_{frozen}." in name)


def test_the_noise_of_the_halves_is_reported(scored):
    content = json.loads((scored / "score" / "manifest.json").read_text())
    noise = content["metrics"]["noise"]
    assert 0 < noise["chance"] < noise["between"] < 1
    assert noise["samples"] == 12
    assert any("sampling noise" in note for note in content["notes"])


def test_importance_that_underflows_is_said(tmp_path, tiny_model_dir, splits):
    with pytest.raises(UsageError, match="every element is zero for system1") as raised:
        run_score(tmp_path / "run", tiny_model_dir, splits, init="gaussian", init_scale=1e-30)
    assert "underflows float32" in raised.value.found


def test_importance_that_is_not_finite_is_refused(tmp_path, tiny_model_dir, splits):
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][:] = 1e38  # Finite itself; what it is multiplied with is not.
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LoraparError, match="not finite for system1"):
        run_score(tmp_path / "run", folder, splits)
    assert not (tmp_path / "run" / "score").exists()
