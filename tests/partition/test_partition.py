"""`partition` as a stage: what it writes, and which importance it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Flag, Region, Stage
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import compare_thetas, partition
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import read_tensors
from tests.partition.importance_files import write_importance

CUT = PartitionOptions()
NAME = "base_model.model.layers.0.q_proj.lora_A.weight"


def test_it_writes_flags_and_counts(run_dir):
    outcome = partition(run_dir, CUT)
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
    assert outcome.manifest.layout_fingerprint == run_dir.manifest(Stage.SCORE).layout_fingerprint
    assert not partition(run_dir, CUT).fresh


def test_a_budget_with_a_theta_is_refused(random_importance, tmp_path):
    path, _, _ = random_importance
    options = PartitionOptions(budget=5, importance=path)
    with pytest.raises(UsageError, match="omit `--theta`"):
        partition(RunDir(tmp_path / "run"), options, given=["budget", "theta"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite")])
def test_nan_and_infinity_are_refused_by_name(tmp_path, value, word):
    path = tmp_path / "importance.safetensors"
    write_importance(path, [{NAME: [[1, 2]]}, {NAME: [[1, value]]}])
    with pytest.raises(LoraparError, match="system2/base_model") as raised:
        partition(RunDir(tmp_path / "run"), replace(CUT, importance=path))
    assert word in raised.value.found
    assert not (tmp_path / "run").exists()


def test_a_changed_layout_is_refused(tmp_path):
    path = tmp_path / "importance.safetensors"
    write_importance(path, [{NAME: [[1, 2]]}, {NAME: [[1, 1]]}], fingerprint="0" * 64)
    with pytest.raises(LoraparError, match="fingerprint"):
        partition(RunDir(tmp_path / "run"), replace(CUT, importance=path))


def test_sweep_equals_one_partition_a_theta(random_importance, tmp_path):
    path, _, _ = random_importance
    thetas = [0.9, 0.1, 0.5, 1.0]
    rows = compare_thetas(RunDir(tmp_path), thetas, importance=path)
    assert [row["theta"] for row in rows] == sorted(thetas)
    assert not (tmp_path / "partition").exists()
    for row in rows:
        outcome = partition(
            RunDir(tmp_path),
            PartitionOptions(theta=row["theta"], importance=path, out=tmp_path / "one"),
        )
        assert row["regions"] == outcome.manifest.counts["regions"]
        assert row["jaccard"] == outcome.manifest.metrics["jaccard"]
        assert row["share_selected"] == outcome.manifest.metrics["share_selected"]


def test_a_sweep_refuses_thetas_out_of_range(random_importance, tmp_path):
    path, _, _ = random_importance
    with pytest.raises(UsageError, match="`--theta` must be above 0"):
        compare_thetas(RunDir(tmp_path), [0.5, 0.0], importance=path)


def test_the_header_records_how_the_sets_were_chosen(random_importance, tmp_path):
    path, _, _ = random_importance
    options = PartitionOptions(
        importance=path, select="bottom", scope_s2="module", only="B", budget_s1="0.5%", protect=2.0
    )
    outcome = partition(RunDir(tmp_path), options)
    _, metadata = read_tensors(outcome.folder / "mask.safetensors")
    assert metadata["selection"] == "bottom"
    assert (metadata["scope"], metadata["scope_s2"]) == ("global", "module")
    assert (metadata["only"], metadata["budget_s1"]) == ("B", "0.5%")
    assert json.loads(metadata["theta"]) == [None, 0.9]
    assert metadata["protect"] == "2.0"
    plain = partition(RunDir(tmp_path), PartitionOptions(importance=path, out=tmp_path / "plain"))
    _, metadata = read_tensors(plain.folder / "mask.safetensors")
    assert not {"scope_s2", "only", "budget_s1", "budget_s2", "protect"} & {*metadata}


def test_a_theta_that_budgets_replace_is_refused(random_importance, tmp_path):
    path, _, _ = random_importance
    options = PartitionOptions(budget_s1="5", budget_s2="1%", importance=path)
    with pytest.raises(UsageError, match="omit `--theta`"):
        partition(RunDir(tmp_path / "run"), options, given=["budget_s1", "budget_s2", "theta"])
