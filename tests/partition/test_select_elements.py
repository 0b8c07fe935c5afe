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


def whole(values, names=None) -> np.ndarray:
    """Returns the values of these matrices, of all in sorted order, as one vector."""
    return np.concatenate([np.ravel(values[name]) for name in names or sorted(values)])


def prefix(values: np.ndarray, theta: float) -> np.ndarray:
    """Returns the indices of the smallest top set that reaches theta."""
    order = np.argsort(-values, kind="stable")
    reached = np.cumsum(values[order], dtype=np.float64)
    return order[: int(np.searchsorted(reached, theta * reached[-1])) + 1]


def test_bottom_takes_as_many_of_the_least_important(random_importance, tmp_path):
    path, _, systems = random_importance
    flags = whole(flags_under(path, tmp_path, theta=0.7, select="bottom"))
    for values, bit in zip(systems, (Flag.TOP1, Flag.TOP2), strict=True):
        size = len(prefix(whole(values), 0.7))
        least = np.argsort(whole(values), kind="stable")[:size]
        assert 0 < size < 200
        assert sorted(least) == np.flatnonzero(flags & bit).tolist()


def test_bottom_ranks_shared_elements_by_least_importance_too(tmp_path):
    name = "m.layers.0.q_proj.lora_A.weight"
    path = tmp_path / "importance.safetensors"
    write_importance(path, [{name: [[5, 4, 3, 2, 1, 0]]}] * 2)
    mask = flags_under(path, tmp_path, select="bottom", budget_s1="4", budget_s2="4", alpha=0.5)
    assert np.flatnonzero(mask[name] & Flag.TOP1).tolist() == [2, 3, 4, 5]
    assert np.flatnonzero(mask[name] & Flag.SFT).tolist() == [4, 5]


@pytest.mark.parametrize("side", ["A", "B"])
def test_only_one_kind_of_matrix(random_importance, tmp_path, side):
    path, names, (first, _) = random_importance
    mask = flags_under(path, tmp_path, theta=0.6, only=side)
    own = [name for name in names if f".lora_{side}." in name]
    assert not any(mask[name].any() for name in names if name not in own)
    chosen = np.flatnonzero(whole(mask, own) & Flag.TOP1)
    assert chosen.tolist() == sorted(prefix(whole(first, own), 0.6))


@pytest.mark.parametrize(("alpha", "beta"), [(1, 1), (0.4, 0.7), (0, 1)])
def test_each_system_has_its_own_scope(random_importance, tmp_path, alpha, beta):
    path, names, (first, second) = random_importance
    mask = flags_under(path, tmp_path, theta=0.8, scope_s2="module", alpha=alpha, beta=beta)
    top1 = np.zeros(400, bool)
    top1[prefix(whole(first), 0.8)] = True
    top2 = {name: np.zeros(second[name].size, bool) for name in names}
    for name in names:
        top2[name][prefix(second[name].ravel(), 0.8)] = True
    flags = whole(mask)
    assert ((flags & Flag.TOP1 > 0) == top1).all()
    assert ((flags & Flag.TOP2 > 0) == whole(top2)).all()
    # alpha ranks the shared elements of all matrices together, beta those of each by itself.
    shared = np.flatnonzero(top1 & whole(top2))
    best = sorted(shared, key=lambda i: (-whole(first)[i], i))[: int(alpha * len(shared))]
    assert set(np.flatnonzero(flags & Flag.SFT)) == {*np.flatnonzero(top1 & ~whole(top2)), *best}
    start = 0
    for name in names:
        values, size = second[name].ravel(), second[name].size
        own = np.flatnonzero(top1[start : start + size] & top2[name])
        best = sorted(own, key=lambda i: (-values[i], i))[: int(beta * len(own))]
        rest = np.flatnonzero(top2[name] & ~top1[start : start + size])
        assert set(np.flatnonzero(mask[name].ravel() & Flag.RL)) == {*rest, *best}
        start += size


def test_budgets_are_met_exactly(random_importance, tmp_path):
    path, _, (first, second) = random_importance
    mask = flags_under(path, tmp_path, budget_s1="37", budget_s2="0.75%")
    assert sizes(mask) == (37, 3)
    order = np.argsort(-whole(first), kind="stable")[:37]
    assert sorted(order) == np.flatnonzero(whole(mask) & Flag.TOP1).tolist()
    for select in ("random", "bottom", "top"):
        drawn = flags_under(path, tmp_path, budget_s1="37", budget_s2="0.75%", select=select)
        assert sizes(drawn) == (37, 3)
    mixed = flags_under(path, tmp_path, budget_s1="5%", theta=0.5)
    assert sizes(mixed) == (20, len(prefix(whole(second), 0.5)))


def test_a_budget_is_spread_over_the_matrices_by_their_size(random_importance, tmp_path):
    path, names, (first, _) = random_importance
    mask = flags_under(path, tmp_path, budget_s1="50", budget_s2="10%", scope="module")
    # 120, 200 and 80 elements: 15, 25 and 10 of 50.
    for name, size in zip(names, (15, 25, 10), strict=True):
        order = np.argsort(-first[name].ravel(), kind="stable")[:size]
        assert sorted(order) == np.flatnonzero(mask[name].ravel() & Flag.TOP1).tolist()
    assert sizes(mask)[1] == 40


def test_a_percentage_is_of_all_elements_also_with_only_some_to_choose(random_importance, tmp_path):
    path, _, _ = random_importance
    assert sizes(flags_under(path, tmp_path, budget_s1="10%", budget_s2="50%", only="B")) == (
        40,
        200,
    )
    with pytest.raises(LoraparError, match="`--budget-s2` exceeds") as raised:
        flags_under(path, tmp_path, budget_s1="10%", budget_s2="51%", only="B")
    assert raised.value.found == "204 of 200"


def test_elements_without_importance_in_a_budget_are_reported(tmp_path):
    name = "m.layers.0.q_proj.lora_A.weight"
    path = tmp_path / "importance.safetensors"
    write_importance(path, [{name: [[0, 2, 0, 1, 0]]}, {name: [[1, 1, 1, 1, 1]]}])
    options = PartitionOptions(budget_s1="4", budget_s2="2", importance=path)
    outcome = partition(RunDir(tmp_path), options)
    (note,) = outcome.manifest.notes
    assert note.startswith("2 of the 4 elements selected for system1 have importance 0")


@pytest.mark.parametrize("options", [{}, {"budget": 2}])
def test_a_discount_that_leaves_no_importance_is_named(tmp_path, options):
    name = "m.layers.0.q_proj.lora_A.weight"
    path = tmp_path / "importance.safetensors"
    write_importance(path, [{name: [[1, 2, 1, 1]]}, {name: [[1, 1, 1, 3]]}])
    with pytest.raises(LoraparError, match="its discounted importance is zero") as caught:
        partition(RunDir(tmp_path), PartitionOptions(importance=path, protect=1e300, **options))
    assert "smaller `--protect`" in caught.value.hint


@pytest.mark.parametrize("options", [{"budget_s2": "2"}, {"select": "top", "theta": 0.5}])
def test_a_set_without_any_importance_is_refused(tmp_path, options):
    name = "m.layers.0.q_proj.lora_A.weight"
    path = tmp_path / "importance.safetensors"
    write_importance(path, [{name: [[0, 2, 0, 1]]}, {name: [[0, 0, 0, 0]]}])
    with pytest.raises(LoraparError, match="system2: its importance is zero"):
        partition(RunDir(tmp_path), PartitionOptions(importance=path, **options))


def test_protection_discounts_by_the_other_systems_importance(random_importance, tmp_path):
    path, _, systems = random_importance
    flags = whole(flags_under(path, tmp_path, theta=0.6, protect=2.0))
    first, second = (whole(values).astype(np.float64) for values in systems)
    for own, other, bit in ((first, second, Flag.TOP1), (second, first, Flag.TOP2)):
        discounted = (own / (1 + 2.0 * other / other.mean())).astype(np.float32)
        assert sorted(prefix(discounted, 0.6)) == np.flatnonzero(flags & bit).tolist()
        assert sorted(prefix(own.astype(np.float32), 0.6)) != np.flatnonzero(flags & bit).tolist()


def test_protection_separates_the_two_sets(random_importance, tmp_path):
    path, _, _ = random_importance
    jaccards = []
    for weight in (0.0, 1.0, 100.0):
        flags = whole(flags_under(path, tmp_path, budget_s1="25%", budget_s2="25%", protect=weight))
        jaccards.append((flags & 3 == 3).sum() / (flags & 3 > 0).sum())
    assert jaccards[0] > jaccards[1] > jaccards[2]


def test_a_budget_for_both_sets_holds_after_protection_and_among_some(random_importance, tmp_path):
    path, names, _ = random_importance
    mask = flags_under(path, tmp_path, budget=60, protect=1.0, only="B")
    assert 50 < np.count_nonzero(whole(mask) & 3) <= 60
    assert not any(mask[name].any() for name in names if ".lora_A." in name)
