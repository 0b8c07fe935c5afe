"""What `report` says of evaluations, from their manifests."""

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.stage_records.evaluation import EvalRecord
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.tools.compare_runs import compare_runs
from lorapar_cli.tools.report import report

SYSTEM1 = {"n": 2, "correct": 2, "accuracy": 1.0, "interval": [0.342, 1.0]}
SYSTEM2 = {"n": 1, "correct": 0, "accuracy": 0.0, "interval": [0.0, 0.793]}
ROW = {
    "n": 3,
    "correct": 2,
    "accuracy": 2 / 3,
    "interval": [0.208, 0.939],
    "by_system": {"system1": SYSTEM1, "system2": SYSTEM2},
    "completions": 6,
    "cut": 0,
}
DIFFERENCE = {
    "n": 3,
    "only_first": 1,
    "only_second": 0,
    "difference": 1 / 3,
    "p_value": 1.0,
    "interval": [-0.286, 0.686],
}
PAIR = DIFFERENCE | {"by_system": {"system1": DIFFERENCE, "system2": DIFFERENCE}}


@pytest.fixture
def run_dir(tmp_path):
    """A run directory with one evaluation, of several samples."""
    settings = {"task": "gsm8k", "k": [1, 2], "samples": 2}
    manifest = Manifest(Stage.EVAL, settings, ["k", "samples"])
    manifest.keep(
        EvalRecord(
            {"items": 3, "without_reference": 0, "tokens": {"base": 9, "mine": 9}},
            {
                "models": [ROW | {"model": "base"}, ROW | {"model": "mine"}],
                "pairs": [PAIR | {"model": "mine", "against": "base"}],
            },
        )
    )
    folder = RunDir(tmp_path).folder(Stage.EVAL) / "mine"
    folder.mkdir(parents=True)
    write_manifest(folder, manifest)
    return RunDir(tmp_path)


def test_accuracies_and_differences(run_dir):
    page = report(run_dir, run_dir.root)
    assert "## Accuracy: mine (gsm8k)\n\n3 records, 95 % intervals." in page
    cells = "66.7 % (20.8 to 93.9, n=3) | 100.0 % (34.2 to 100.0, n=2) | 0.0 % (0.0 to 79.3, n=1)"
    table = page[page.index("| model | all | System 1 | System 2 |") :].splitlines()
    assert table[2:4] == [f"| base | {cells} |", f"| mine | {cells} |"]
    shown = "+33.3 (-28.6 to +68.6), p 1"
    assert f"| mine - base | {shown} | {shown} | {shown} |" in page


def test_options_with_several_numbers_are_shown(run_dir):
    assert "`--k 1,2` `--samples 2`" in report(run_dir, run_dir.root)


def test_a_row_for_each_model_of_each_run(run_dir, tmp_path):
    lines = compare_runs([run_dir]).splitlines()
    assert [line.split(" | ")[2] for line in lines[2:]] == ["base", "mine"]
    (tmp_path / "other" / "train-sft").mkdir(parents=True)
    write_manifest(tmp_path / "other" / "train-sft", Manifest(Stage.TRAIN_SFT, {}))
    with pytest.raises(LoraparError, match="has no finished evaluation"):
        compare_runs([RunDir(tmp_path / "other")])
