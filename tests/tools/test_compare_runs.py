"""`report` of several runs: one row per evaluated model."""

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.tools.compare_runs import compare_runs
from lorapar_cli.tools.page.page import comparison_page
from tests.tools.finished_runs import write_run


def test_runs_are_compared_by_evaluated_model(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", masked=False)]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in compare_runs(runs).splitlines()
    ]
    assert rows[0] == [
        *("run", "base model", "evaluation", "model", "accuracy of", "selection", "init"),
        *("active SFT", "active RL", "all", "System 1", "System 2"),
    ]
    cut = "importance, theta 0.9 and 0.5, alpha 0.5, beta 1"
    assert {row[1] for row in rows[2:]} == {"embedded"}
    assert {row[4] for row in rows[2:]} == {"first of 8 draws"}
    assert [row[2:4] + row[5:9] for row in rows[2:]] == [
        ["test", "base", "", "", "", ""],
        ["test", "sft", cut, "pissa", "25.0 %", ""],
        ["test", "rl", cut, "pissa", "25.0 %", "30.0 %"],
        ["test", "base", "", "", "", ""],
        ["test", "sft", "all elements", "pissa", "100.0 %", ""],
        ["test", "rl", "all elements", "pissa", "100.0 %", "100.0 %"],
    ]
    assert rows[4][9:] == [
        "75.0 % (65.0 to 85.0, n=200)",
        "70.0 % (60.0 to 80.0, n=100)",
        "80.0 % (70.0 to 90.0, n=100)",
    ]


def test_a_run_without_evaluations_cannot_be_compared(tmp_path):
    run = write_run(tmp_path / "run")
    run.folder(Stage.EVAL).rename(tmp_path / "eval")
    with pytest.raises(LoraparError, match="has no finished evaluation") as raised:
        compare_runs([run])
    assert "lorapar eval" in raised.value.hint


def test_a_run_without_evaluations_has_a_row_beside_one_that_has_some(tmp_path):
    runs = [write_run(tmp_path / "a b"), write_run(tmp_path / "b")]
    runs[0].folder(Stage.EVAL).rename(tmp_path / "eval")
    table = compare_runs(runs)
    assert f"| {tmp_path}/a b | embedded | none finished |" in table
    assert table.count(f"| {tmp_path}/b |") == 3
    assert "none finished" in comparison_page(runs)
    runs[1].folder(Stage.EVAL).rename(tmp_path / "eval2")
    with pytest.raises(LoraparError, match="none of the 2 run directories") as raised:
        compare_runs(runs)
    assert f"--run-dir '{tmp_path}/a b'" in raised.value.hint


def test_a_run_directory_without_a_finished_stage_cannot_be_compared(tmp_path):
    with pytest.raises(LoraparError, match="no stage has finished"):
        compare_runs([RunDir(tmp_path)])
