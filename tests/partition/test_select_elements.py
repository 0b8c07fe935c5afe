"""Which elements each way of selecting takes, against numpy on the whole vectors."""

import numpy as np
import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Flag
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import compare_thetas, partition
from lorapar_cli.store.run_dir import RunDir
from tests.partition.importance_files import flags_under, sizes, write_importance


def test_random_selects_as_many_elements_and_is_seeded(random_importance, tmp_path):
    path, _, _ = random_importance
    chosen = flags_under(path, tmp_path, theta=0.7)
    drawn = flags_under(path, tmp_path, theta=0.7, select="random")
    again = flags_under(path, tmp_path / "again", theta=0.7, select="random")
    other = flags_under(path, tmp_path, theta=0.7, select="random", seed=1)
    assert sizes(drawn) == sizes(chosen) == sizes(other)
    assert all((drawn[name] == again[name]).all() for name in drawn)
    assert any((drawn[name] != chosen[name]).any() for name in drawn)
    assert any((drawn[name] != other[name]).any() for name in drawn)


def test_top_takes_a_fraction_of_the_elements(random_importance, tmp_path):
    path, names, (first, _) = random_importance
    mask = flags_under(path, tmp_path, theta=0.29, select="top")
    values = np.concatenate([first[name].ravel() for name in names])
    assert values.size == 400
    order = np.argsort(-values, kind="stable")[:116]  # 0.29 * 400 in binary is below 116
    flags = np.concatenate([mask[name].ravel() for name in names])
    assert sorted(order) == np.flatnonzero(flags & Flag.TOP1).tolist()


def test_a_top_fraction_below_one_element_is_named(random_importance, tmp_path):
    path, _, _ = random_importance
    with pytest.raises(LoraparError, match="1e-06 of all elements is less than one element"):
        partition(RunDir(tmp_path), PartitionOptions(select="top", theta=1e-6, importance=path))


def test_each_system_can_have_its_own_theta(random_importance, tmp_path):
    path, _, _ = random_importance
    both = flags_under(path, tmp_path, theta_s1=0.3, theta_s2=0.8)
    assert sizes(both)[0] == sizes(flags_under(path, tmp_path, theta=0.3))[0]
    assert sizes(both)[1] == sizes(flags_under(path, tmp_path, theta=0.8))[1]


def test_module_scope_cuts_each_matrix_by_itself(random_importance, tmp_path):
    path, names, (_, second) = random_importance
    mask = flags_under(path, tmp_path, theta=0.5, scope="module")
    for name in names:
        values = second[name].ravel()
        order = np.argsort(-values, kind="stable")
        reached = np.cumsum(values[order], dtype=np.float64)
        size = int(np.searchsorted(reached, 0.5 * reached[-1])) + 1
        assert sorted(order[:size]) == np.flatnonzero(mask[name].ravel() & Flag.TOP2).tolist()


def test_one_layer_all_zero(tmp_path):
    names = [f"m.layers.{i}.q_proj.lora_A.weight" for i in range(2)]
    values = {name: np.full((2, 5), place) for place, name in enumerate(names)}
    path = tmp_path / "importance.safetensors"
    write_importance(path, [values, values])
    for scope in ("global", "module"):
        mask = flags_under(path, tmp_path, scope=scope)
        assert not mask[names[0]].any()
        assert np.count_nonzero(mask[names[1]]) == 9


@pytest.mark.parametrize("budget", [2, 10, 57, 200, 399])
def test_budget_is_the_largest_theta_within_it(random_importance, tmp_path, budget):
    path, _, _ = random_importance
    folder = tmp_path / "out"
    outcome = partition(
        RunDir(tmp_path), PartitionOptions(budget=budget, importance=path, out=folder)
    )
    theta = outcome.manifest.metrics["theta_of_budget"]
    elements = outcome.manifest.counts["elements"]
    assert elements - outcome.manifest.counts["regions"]["unselected"] <= budget
    if theta < 1:
        (more,) = compare_thetas(RunDir(tmp_path), [round(theta + 1e-6, 6)], importance=path)
        assert elements - more["regions"]["unselected"] > budget


def test_a_budget_below_one_element_a_system_is_refused(random_importance, tmp_path):
    path, _, _ = random_importance
    with pytest.raises(LoraparError, match="as few as 1"):
        partition(RunDir(tmp_path), PartitionOptions(budget=1, importance=path))


@pytest.mark.parametrize("options", [{}, {"budget": 3}, {"scope": "module"}])
def test_all_zero_importance_is_named(tmp_path, options):
    name = "base_model.model.layers.0.q_proj.lora_A.weight"
    path = tmp_path / "importance.safetensors"
    write_importance(path, [{name: np.ones((2, 3))}, {name: np.zeros((2, 3))}])
    with pytest.raises(LoraparError, match="system2: its importance is zero"):
        partition(RunDir(tmp_path), PartitionOptions(importance=path, **options))
    with pytest.raises(LoraparError, match="system2: its importance is zero"):
        compare_thetas(RunDir(tmp_path), [0.5, 1.0], importance=path)
