"""What the training commands show of a result."""

import io

import pytest
from rich.console import Console

from lorapar_cli.cli.commands import train_rl, train_sft
from lorapar_cli.names import Stage
from lorapar_cli.store.manifest import Manifest


def shown(render, manifest) -> str:
    console = Console(file=io.StringIO(), width=100)
    for each in render(manifest):
        console.print(each)
    return console.file.getvalue()


def result(stage, data, records, **metrics) -> Manifest:
    counts = {"records": records, "trained_records": 1234, "active": 1, "elements": 2}
    counts |= {"active_moved": 1, "frozen_moved": 0}
    manifest = Manifest(stage, {"data": data}, counts=counts, metrics={"steps": 3} | metrics)
    manifest.ended = manifest.started
    return manifest


@pytest.mark.parametrize(
    ("data", "records", "title", "row"),
    [
        ("system1", {"system1": 5000, "system2": 0}, "System-1 records", "5,000 system1"),
        ("system2", {"system1": 0, "system2": 7}, "System-2 records", "7 system2"),
        ("all", {"system1": 5, "system2": 7}, "all records", "5 system1, 7 system2"),
        ("mine.jsonl", {"system1": 0, "system2": 0}, "mine.jsonl", "1,234"),
    ],
)
def test_title_and_row_tell_what_was_trained_on(data, records, title, row):
    sft = shown(train_sft._render, result(Stage.TRAIN_SFT, data, records, loss=1.5))
    rl = shown(train_rl._render, result(Stage.TRAIN_RL, data, records, reward=0.25))
    assert f"SFT on {title}" in sft
    assert f"GRPO on {title}" in rl
    assert row in sft
    assert row in rl
    assert "0.250" in rl


def test_a_run_that_logged_no_reward_is_shown_without():
    records = {"system1": 0, "system2": 7}
    text = shown(train_rl._render, result(Stage.TRAIN_RL, "system2", records, reward=None))
    assert "mean reward" not in text


def test_tokens_are_shown_by_the_first_process_only(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    train_sft._show_tokens([[("a", False)]])
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("RANK", "0")
    train_sft._show_tokens([[("a", False), ("b", True)]])
    assert "'a' ['b']" in capsys.readouterr().out
