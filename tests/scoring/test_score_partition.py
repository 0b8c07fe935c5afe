"""score and partition as stages, on real files of a random Llama."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Flag, Region, System
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import compare_thetas, partition
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score import score
from lorapar_cli.store.records import write_records
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import layout_fingerprint, read_tensors, write_tensors

CUT = PartitionOptions()


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
    outcome = partition(RunDir(scored), CUT)
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
    assert not partition(RunDir(scored), CUT).fresh


@pytest.mark.parametrize(
    "changed", [{"theta": 0}, {"theta": 1.1}, {"alpha": -0.1}, {"beta": 2}, {"theta": float("nan")}]
)
def test_partition_refuses_what_is_out_of_range(scored, tmp_path, changed):
    with pytest.raises(UsageError):
        partition(RunDir(scored), replace(CUT, **changed, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def write_importance(path, first, second, fingerprint=None):
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
        partition(RunDir(tmp_path / "run"), replace(CUT, importance=path))
    assert word in raised.value.found
    assert not (tmp_path / "run").exists()


def test_a_changed_layout_is_refused(tmp_path):
    path = tmp_path / "importance.safetensors"
    write_importance(path, [[1, 2]], [[1, 1]], fingerprint="0" * 64)
    with pytest.raises(LoraparError, match="fingerprint"):
        partition(RunDir(tmp_path / "run"), replace(CUT, importance=path))


@pytest.fixture
def random_importance(tmp_path):
    """An importance file of three matrices with ties and zeros, and its flat vectors."""
    draw = np.random.default_rng(3)
    shapes = {
        "base_model.model.layers.0.q_proj.lora_A.weight": (4, 30),
        "base_model.model.layers.0.q_proj.lora_B.weight": (50, 4),
        "base_model.model.layers.1.up_proj.lora_A.weight": (4, 20),
    }
    tensors = {
        f"{system}/{name}": np.round(draw.lognormal(0, 2, shape), 1).astype(np.float32)
        for system in System
        for name, shape in shapes.items()
    }
    path = tmp_path / "importance.safetensors"
    write_tensors(path, tensors, {"fingerprint": layout_fingerprint(shapes)})
    return path, sorted(shapes), tensors


def flags_under(path, tmp_path, **options) -> dict[str, np.ndarray]:
    folder = tmp_path / "-".join(map(str, options.values())) or "default"
    outcome = partition(RunDir(tmp_path), PartitionOptions(**options, importance=path, out=folder))
    return read_tensors(outcome.folder / "mask.safetensors")[0]


def sizes(mask) -> tuple[int, int]:
    flags = np.concatenate([part.ravel() for part in mask.values()])
    return int((flags & Flag.TOP1 > 0).sum()), int((flags & Flag.TOP2 > 0).sum())


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
    path, names, tensors = random_importance
    mask = flags_under(path, tmp_path, theta=0.29, select="top")
    values = np.concatenate([tensors[f"system1/{name}"].ravel() for name in names])
    assert values.size == 400
    order = np.argsort(-values, kind="stable")[:116]  # 0.29 * 400 in binary is below 116
    flags = np.concatenate([mask[name].ravel() for name in names])
    assert sorted(order) == np.flatnonzero(flags & Flag.TOP1).tolist()


def test_each_system_can_have_its_own_theta(random_importance, tmp_path):
    path, _, _ = random_importance
    both = flags_under(path, tmp_path, theta_s1=0.3, theta_s2=0.8)
    assert sizes(both)[0] == sizes(flags_under(path, tmp_path, theta=0.3))[0]
    assert sizes(both)[1] == sizes(flags_under(path, tmp_path, theta=0.8))[1]


def test_module_scope_cuts_each_matrix_by_itself(random_importance, tmp_path):
    path, names, tensors = random_importance
    mask = flags_under(path, tmp_path, theta=0.5, scope="module")
    for name in names:
        values = tensors[f"system2/{name}"].ravel()
        order = np.argsort(-values, kind="stable")
        reached = np.cumsum(values[order], dtype=np.float64)
        size = int(np.searchsorted(reached, 0.5 * reached[-1])) + 1
        assert sorted(order[:size]) == np.flatnonzero(mask[name].ravel() & Flag.TOP2).tolist()


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


def test_all_zero_importance_is_named_by_sweep_and_budget_too(tmp_path):
    name = "base_model.model.layers.0.q_proj.lora_A.weight"
    path = tmp_path / "importance.safetensors"
    tensors = {f"system1/{name}": np.ones((2, 3), np.float32)}
    tensors[f"system2/{name}"] = np.zeros((2, 3), np.float32)
    write_tensors(path, tensors, {"fingerprint": layout_fingerprint({name: (2, 3)})})
    with pytest.raises(LoraparError, match="system2: its importance is zero"):
        compare_thetas(RunDir(tmp_path), [0.5, 1.0], importance=path)
    with pytest.raises(LoraparError, match="system2: its importance is zero"):
        partition(RunDir(tmp_path), PartitionOptions(budget=3, importance=path))


def test_a_top_fraction_below_one_element_is_named(random_importance, tmp_path):
    path, _, _ = random_importance
    with pytest.raises(LoraparError, match="1e-06 of all elements is less than one element"):
        partition(RunDir(tmp_path), PartitionOptions(select="top", theta=1e-6, importance=path))


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


@pytest.mark.parametrize(
    "changed",
    [
        {"budget": 0},
        {"budget": 5, "select": "random"},
        {"budget": 5, "scope": "module"},
        {"budget": 5, "theta_s1": 0.5},
        {"theta_s2": 0.0},
    ],
)
def test_settings_that_exclude_each_other(scored, tmp_path, changed):
    with pytest.raises(UsageError):
        partition(RunDir(scored), PartitionOptions(**changed, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_one_layer_all_zero(tmp_path):
    shapes = {f"m.layers.{i}.q_proj.lora_A.weight": (2, 5) for i in range(2)}
    tensors = {}
    for system in System:
        for place, name in enumerate(shapes):
            tensors[f"{system}/{name}"] = np.full((2, 5), place, np.float32)
    path = tmp_path / "importance.safetensors"
    write_tensors(path, tensors, {"fingerprint": layout_fingerprint(shapes)})
    for scope in ("global", "module"):
        mask = flags_under(path, tmp_path, scope=scope)
        assert not mask["m.layers.0.q_proj.lora_A.weight"].any()
        assert np.count_nonzero(mask["m.layers.1.q_proj.lora_A.weight"]) == 9
