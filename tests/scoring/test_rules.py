"""`score --rule` as a stage: what each rule writes, and that the adapter is the same under all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.scoring import policy_steps
from lorapar_cli.store.records import Record, write_records
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import read_tensors
from tests.ports import free_port
from tests.scoring.score_parts import importance_of, relative_norm, run_score

RULES = {
    "snr": {},
    "gallop": {},
    "migu": {},
    "random": {},
    "movement": {"movement_s2": "sft", "movement_steps": 3},
}


@pytest.fixture(scope="module")
def by_rule(tmp_path_factory, tiny_model_dir, splits):
    """Rule -> a run directory that is scored by it; only read it."""
    roots = {}
    for rule, options in RULES.items():
        roots[rule] = tmp_path_factory.mktemp(rule) / "run"
        run_score(roots[rule], tiny_model_dir, splits, rule=rule, **options)
    return roots


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_gives_a_partition_and_the_adapter_of_the_default(by_rule, scored, rule):
    root = by_rule[rule]
    tensors, metadata = read_tensors(root / "score" / "importance.safetensors")
    plain, plain_metadata = read_tensors(scored / "score" / "importance.safetensors")
    assert metadata["rule"] == rule
    assert {*plain_metadata} - {*metadata} == {"formula"}
    assert "rule" not in plain_metadata
    assert tensors.keys() == plain.keys()
    for name, values in tensors.items():
        assert values.dtype == np.float32
        assert values.shape == plain[name].shape
        assert np.isfinite(values).all()
        assert (values >= 0).all()
    assert relative_norm(tensors, plain) > 1e-3
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (root / "score" / "adapter" / name).read_bytes() == (
            scored / "score" / "adapter" / name
        ).read_bytes()
    options = PartitionOptions(out=root.parent / "cut")
    assert partition(RunDir(root), options).manifest.metrics["jaccard"] < 1


@pytest.mark.parametrize("rule", RULES)
def test_the_same_command_gives_the_same_bytes(by_rule, tmp_path, tiny_model_dir, splits, rule):
    run_score(tmp_path / "again", tiny_model_dir, splits, rule=rule, **RULES[rule])
    first, second = (
        root / "score" / "importance.safetensors" for root in (by_rule[rule], tmp_path / "again")
    )
    assert first.read_bytes() == second.read_bytes()


def test_halves_are_compared_where_gradients_are_summed(by_rule):
    for rule, root in by_rule.items():
        manifest = RunDir(root).manifest("score")
        assert ("noise" in manifest.metrics) == (rule in ("snr", "gallop"))
        assert ("loss_system1" in manifest.metrics) == (rule in ("snr", "gallop"))
        assert ("seconds_system2" in manifest.metrics) == (rule != "random")


def test_random_is_the_formula_of_that_name(by_rule, tmp_path, tiny_model_dir, splits):
    run_score(tmp_path, tiny_model_dir, splits, formula="random")
    drawn = importance_of(tmp_path)
    assert all((drawn[n] == v).all() for n, v in importance_of(by_rule["random"]).items())


@pytest.mark.parametrize("init", ["default", "pissa"])
def test_movement_needs_no_values_but_zero(tmp_path, tiny_model_dir, splits, init):
    run_score(tmp_path, tiny_model_dir, splits, rule="movement", init=init, **RULES["movement"])
    found = importance_of(tmp_path)
    assert all(values.any() for values in found.values())
    alone = tmp_path / "alone"
    options = {"formula": "fisher"} if init == "default" else {}
    run_score(alone, tiny_model_dir, splits, init=init, **options)
    folders = ["adapter"] + ["adapter-raw"] * (init == "pissa")
    for folder in folders:
        first, second = (
            root / "score" / folder / "adapter_model.safetensors" for root in (tmp_path, alone)
        )
        assert first.read_bytes() == second.read_bytes()


def write_splits(folder, answers) -> None:
    for system in ("system1", "system2"):
        records = [
            Record(f"{i}", f"What is {i + 2} plus {i + 3}?", f"#### {answer}", str(answer))
            for i, answer in enumerate(answers)
        ]
        write_records(folder / f"{system}.jsonl", records)


def test_a_model_that_is_never_right_cannot_be_moved_by_rewards(
    tmp_path, tiny_model_dir, monkeypatch
):
    monkeypatch.setattr(policy_steps, "NEW_TOKENS", 4)
    write_splits(tmp_path, [987_650 + i for i in range(8)])
    with pytest.raises(LoraparError, match="no sampled group has both") as raised:
        run_score(tmp_path / "run", tiny_model_dir, tmp_path, rule="movement", movement_steps=1)
    assert "0 of 64 sampled completions were right" in raised.value.found
    assert "--movement-s2 sft" in raised.value.hint
    assert not (tmp_path / "run" / "score").exists()


def test_the_embedded_model_is_moved_by_rewards(tmp_path):
    """It is right now and then on such questions, so that groups have both."""
    write_splits(tmp_path, [2 * i + 5 for i in range(8)])
    outcome = run_score(
        tmp_path / "run", "embedded", tmp_path, rule="movement", movement_steps=1, samples=8
    )
    (note,) = [note for note in outcome.manifest.notes if "GRPO" in note]
    assert "of 64 sampled completions were right" in note
    found = importance_of(tmp_path / "run")
    assert any(values.any() for name, values in found.items() if name.startswith("system2"))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rule": "snr", "formula": "fisher"}, "`--formula` is for"),
        ({"rule": "snr", "movement_steps": 5}, "are for `--rule movement`"),
        ({"movement_s2": "sft"}, "are for `--rule movement`"),
        ({"rule": "movement", "movement_steps": 0}, "`--movement-steps` must be at least 1"),
        ({"rule": "movment"}, "did you mean `movement`"),
        ({"rule": "movement", "init": "mica"}, "rule `movement` would choose elements of B"),
    ],
)
def test_options_that_a_rule_would_ignore_are_refused(
    tmp_path, tiny_model_dir, splits, changed, words
):
    with pytest.raises(UsageError) as raised:
        run_score(tmp_path, tiny_model_dir, splits, **changed)
    assert words in raised.value.what


WORKER = """
import functools, sys
from pathlib import Path
from lorapar_cli.scoring import policy_steps, system_score
from tests.scoring.score_parts import run_score

policy_steps.NEW_TOKENS = 8
system_score.PolicySteps = functools.partial(
    policy_steps.PolicySteps, reward=lambda record, text: float(any(c in text for c in "aeiou"))
)
model, splits, root = sys.argv[1:]
for rule in ("snr", "gallop", "migu", "random", "movement"):
    options = {"movement_steps": 2} if rule == "movement" else {}
    run_score(Path(root, rule), model, Path(splits), rule=rule, batch_tokens=200, **options)
"""


def test_two_processes_equal_one_under_every_rule(tmp_path, tiny_model_dir, splits):
    (tmp_path / "worker.py").write_text(WORKER)
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2")
    launcher += ("--master_port", free_port())
    root = str(Path(__file__).parents[2])  # of `tests`, which the worker imports
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    for count, extra in ((1, ()), (2, launcher)):
        done = subprocess.run(
            [
                *(sys.executable, *extra, tmp_path / "worker.py"),
                *(tiny_model_dir, splits, tmp_path / str(count)),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env=os.environ | {"PYTHONPATH": path},
        )
        assert done.returncode == 0, done.stderr
    for rule in RULES:
        alone, both = (tmp_path / count / rule for count in "12")
        assert relative_norm(importance_of(both), importance_of(alone)) < 1e-6
        notes = [
            json.loads((root / "score" / "manifest.json").read_text())["notes"]
            for root in (alone, both)
        ]
        assert notes[0] == notes[1]
