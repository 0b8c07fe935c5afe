"""The closing report of a run."""

from pathlib import Path

import pytest

from lorapar_cli.cli.run_summary import closing_report
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.stage_records.partition import PartitionRecord
from lorapar_cli.store.manifest import Manifest, Outcome
from tests.cli.shown import shown, training_manifest

ROOT = Path("run")


def accuracy(value, n=400) -> dict:
    return {"n": n, "correct": 0, "accuracy": value, "interval": [0.8, 0.9]}


@pytest.fixture
def outcomes() -> dict[Stage, Outcome]:
    plain = {stage: Manifest(stage, {}) for stage in (Stage.CLASSIFY, Stage.SCORE)}
    regions = {"unselected": 50, "s1_only": 10, "s2_only": 20, "shared": 20}
    row = {"elements": 100, "regions": regions, "active_sft": 30, "active_rl": 40}
    partition = Manifest(Stage.PARTITION, {})
    shares = {"jaccard": 0.4, "share_active_sft": 0.3, "share_active_rl": 0.4}
    partition.keep(
        PartitionRecord(row | {"by_kind": [], "by_layer": []}, shares | {"share_selected": 0.5})
    )
    sft = training_manifest(Stage.TRAIN_SFT, "system1", {"system1": 5}, loss=1.5)
    rl = training_manifest(Stage.TRAIN_RL, "system2", {"system2": 5}, reward=None)
    sft.counts |= {"elements": 100, "active": 30}
    rl.counts |= {"elements": 100, "active": 40}
    rl.settings["replay"] = 0.5
    rl.counts |= {"trained_records": 5, "replayed_records": 2}
    models = [
        {"model": model, **accuracy(0.85), "completions": 800, "cut": 0, "by_system": by_system}
        for model, by_system in (
            ("base", {"system1": accuracy(0.85), "system2": accuracy(None, 0)}),
            ("rl", {"system1": accuracy(0.9)}),
        )
    ]
    counts = {"items": 800, "without_reference": 0, "tokens": {}}
    settings = {"base_model": {}, "match": "answer", "temperature": 0.0}
    evaluated = Manifest(
        Stage.EVAL, settings, counts=counts, metrics={"models": models, "pairs": []}
    )
    manifests = plain | {Stage.PARTITION: partition, Stage.TRAIN_SFT: sft, Stage.TRAIN_RL: rl}
    manifests[Stage.EVAL] = evaluated
    for manifest in manifests.values():
        manifest.ended = manifest.started
    return {
        stage: Outcome(ROOT / ("eval/test" if stage is Stage.EVAL else stage), manifest)
        for stage, manifest in manifests.items()
    }


def test_accuracies_elements_times_and_places_are_shown(outcomes):
    text = shown(closing_report(ROOT, outcomes, ROOT / "report.html"))
    for part in (
        *(
            "accuracy (greedy) on 800 records",
            "after RL",
            "85.0%  (80.0% to 90.0%, n=400)",
        ),
        *("active in SFT", "30 (30.0%)", "active in RL", "40 (40.0%)", "region shared"),
        *("all stages", "replayed in train-rl: 2 (40%) of the other system"),
        *("run/eval/test/results.json", "run/eval/test/samples.jsonl", "run/train-rl/adapter"),
        "report: run/report.html",
        "next: lorapar status --run-dir run",
    ):
        assert part in text
    assert "replayed in train-sft" not in text
    assert "report:" not in shown(closing_report(ROOT, outcomes, None))


def test_records_without_a_system_count_among_all(outcomes):
    models = outcomes[Stage.EVAL].manifest.metrics["models"]
    del models[1]["by_system"]
    for row, by_system in zip(models, ({}, {"system2": accuracy(0.7, 100)}), strict=True):
        row["by_system"] = by_system
    text = shown(closing_report(ROOT, outcomes, None))
    assert text.count("85.0%  (80.0% to 90.0%, n=400)") == 2
    assert "System" not in text

    models[0]["by_system"] = {"system2": accuracy(0.6, 100)}
    text = shown(closing_report(ROOT, outcomes, None))
    assert "System 1" not in text
    for part in ("all", "System 2", "n=400", "60.0%  (80.0% to 90.0%, n=100)", "70.0%"):
        assert part in text


def test_a_damaged_manifest_is_named(outcomes):
    del outcomes[Stage.TRAIN_SFT].manifest.counts["active"]
    with pytest.raises(LoraparError, match="manifest of `train-sft` cannot be read"):
        closing_report(ROOT, outcomes, ROOT / "report.html")
