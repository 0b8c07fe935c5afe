"""score and partition as stages, on real files of a random Llama."""

import json

import numpy as np
import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Flag, Region, System
from lorapar_cli.stages.partition import partition
from lorapar_cli.stages.score import ScoreOptions, score
from lorapar_cli.store.records import write_records
from lorapar_cli.store.rundir import RunDir
from lorapar_cli.store.tensors import read_tensors, write_tensors

CUT = {"theta": 0.9, "alpha": 1.0, "beta": 1.0}


@pytest.fixture(scope="session")
def splits(tmp_path_factory, labelled_records):
    folder = tmp_path_factory.mktemp("splits")
    for system in System:
        chosen = [record for record in labelled_records if record.label == system]
        write_records(folder / f"{system}.jsonl", chosen)
    return folder


def run_score(root, model, splits, given=None, **changed):
    options = ScoreOptions(**({"r": 4, "lora_alpha": 8} | changed))
    return score(
        RunDir(root), options, model=str(model) if model else None, splits=splits, given=given
    )


@pytest.fixture(scope="session")
def scored(tmp_path_factory, tiny_model_dir, splits):
    root = tmp_path_factory.mktemp("runs") / "run"
    run_score(root, tiny_model_dir, splits)
    return root


def test_score_writes_what_the_next_stages_read(scored, tiny_model_dir):
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


def test_the_same_command_twice_writes_the_same_bytes(scored, tmp_path, tiny_model_dir, splits):
    run_score(tmp_path / "again", tiny_model_dir, splits)
    for name in ("importance.safetensors", "adapter/adapter_model.safetensors"):
        first, second = (root / "score" / name for root in (scored, tmp_path / "again"))
        assert first.read_bytes() == second.read_bytes()


def test_score_is_up_to_date_the_second_time(scored, tiny_model_dir, splits):
    assert not run_score(scored, tiny_model_dir, splits).fresh


def test_a_missing_model_names_the_option(tmp_path, splits):
    with pytest.raises(UsageError, match="no base model") as raised:
        run_score(tmp_path, None, splits)
    assert "--model" in raised.value.hint
    assert not any(tmp_path.iterdir())


def test_all_zero_importance_names_cause_and_remedy(tmp_path, tiny_model_dir, splits):
    with pytest.raises(LoraparError, match="every element is zero") as raised:
        run_score(tmp_path / "run", tiny_model_dir, splits, init="gaussian")
    assert "B = 0" in raised.value.found
    assert "orthogonal" in raised.value.hint
    assert not (tmp_path / "run").exists()


def test_too_long_records_are_left_out_and_counted(tmp_path, tiny_model_dir, splits):
    outcome = run_score(tmp_path, tiny_model_dir, splits, max_length=80)
    assert outcome.manifest.counts["too_long"]["system1"] == 0
    assert outcome.manifest.counts["too_long"]["system2"] > 0
    assert any("left out" in note for note in outcome.manifest.notes)


def test_partition_writes_flags_and_counts(scored):
    outcome = partition(RunDir(scored), **CUT)
    mask, metadata = read_tensors(outcome.folder / "mask.safetensors")
    flags = np.concatenate([mask[name].ravel() for name in sorted(mask)])
    counts = outcome.manifest.counts
    assert flags.dtype == np.uint8
    assert counts["elements"] == flags.size
    for place, region in enumerate(Region):
        assert counts["regions"][region] == (flags & 3 == place).sum()
    assert counts["active_sft"] == (flags & Flag.SFT > 0).sum()
    assert counts["active_rl"] == (flags & Flag.RL > 0).sum()
    assert sum(row["elements"] for row in counts["by_kind"]) == flags.size
    assert metadata["theta"] == "0.9"
    assert metadata["fingerprint"] == outcome.manifest.layout_fingerprint
    assert json.loads(metadata["counts"])["elements"] == flags.size
    assert not partition(RunDir(scored), **CUT).fresh


@pytest.mark.parametrize(
    "changed", [{"theta": 0}, {"theta": 1.1}, {"alpha": -0.1}, {"beta": 2}, {"theta": float("nan")}]
)
def test_partition_refuses_what_is_out_of_range(scored, tmp_path, changed):
    with pytest.raises(UsageError):
        partition(RunDir(scored), **(CUT | changed), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def write_importance(path, first, second, fingerprint=None):
    from lorapar_cli.store.tensors import layout_fingerprint

    name = "base_model.model.layers.0.q_proj.lora_A.weight"
    shape = {name: np.shape(first)}
    write_tensors(
        path,
        {
            f"system1/{name}": np.asarray(first, np.float32),
            f"system2/{name}": np.asarray(second, np.float32),
        },
        {"fingerprint": fingerprint or layout_fingerprint(shape)},
    )


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite")])
def test_nan_and_infinity_are_refused_by_name(tmp_path, value, word):
    path = tmp_path / "importance.safetensors"
    write_importance(path, [[1, 2]], [[1, value]])
    with pytest.raises(LoraparError, match="system2/base_model") as raised:
        partition(RunDir(tmp_path / "run"), **CUT, importance=path)
    assert word in raised.value.found
    assert not (tmp_path / "run").exists()


def test_a_changed_layout_is_refused(tmp_path):
    path = tmp_path / "importance.safetensors"
    write_importance(path, [[1, 2]], [[1, 1]], fingerprint="0" * 64)
    with pytest.raises(LoraparError, match="fingerprint"):
        partition(RunDir(tmp_path / "run"), **CUT, importance=path)
