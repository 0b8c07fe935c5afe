"""`lorapar train-sft` and `train-rl` as commands: what they show, and what a dry run leaves."""

from types import SimpleNamespace

import pytest
import typer

from lorapar_cli.cli import main
from lorapar_cli.cli.commands import train_rl, train_sft
from lorapar_cli.names import Stage
from tests.cli.shown import shown, training_manifest

SYSTEM2 = {"system1": 0, "system2": 7}


def test_sft_shows_the_mean_loss():
    manifest = training_manifest(Stage.TRAIN_SFT, "system1", {"system1": 5}, loss=1.5)
    text = shown(train_sft._render(manifest))
    assert "SFT on System-1 records" in text
    assert "1.500" in text


def test_rl_shows_the_mean_reward_of_the_last_step():
    manifest = training_manifest(Stage.TRAIN_RL, "system2", SYSTEM2, reward=0.25)
    text = shown(train_rl._render(manifest))
    assert "GRPO on System-2 records" in text
    assert "0.250" in text


def test_a_run_that_logged_no_reward_is_shown_without():
    manifest = training_manifest(Stage.TRAIN_RL, "system2", SYSTEM2, reward=None)
    assert "mean reward" not in shown(train_rl._render(manifest))


@pytest.fixture
def commands():
    main.register()
    return typer.main.get_command(main.app).commands


def test_a_dry_run_shows_what_would_be_and_returns_no_outcome(commands, run_dir, capfd):
    """`lorapar run` ends there: later stages would find nothing to start from."""
    command = commands["train-sft"]
    arguments = ["--run-dir", str(run_dir.root), "--dry-run", "--show-tokens", "1"]
    with command.make_context("train-sft", arguments) as context:
        assert command.invoke(context) is None
    out, _ = capfd.readouterr()
    assert "dry run: nothing was trained or written" in out
    assert "records as tokens; [in brackets]: contributes to the loss" in out
    assert "['<eos>']" in out
    assert not run_dir.folder(Stage.TRAIN_SFT).exists()


def test_options_reach_the_stage_by_their_names(commands, monkeypatch, tmp_path):
    from lorapar_cli.training import train_rl as stage

    called = {}

    def fake(run_dir, options, *, given, progress):
        called.update(options=options, given=given)
        manifest = training_manifest(Stage.TRAIN_RL, "system2", SYSTEM2, reward=0.5)
        return SimpleNamespace(folder=tmp_path, manifest=manifest, fresh=True)

    monkeypatch.setattr(stage, "train_rl", fake)
    command = commands["train-rl"]
    arguments = [
        *("--run-dir", str(tmp_path), "--from", "init", "--learning-rate", "1e-3"),
        *("--vllm", "server", "--training", "num_iterations=2", "--training", "epsilon=0.1"),
        *("--allow-code-execution", "--mask", "none", "--quantize", "4bit"),
    ]
    with command.make_context("train-rl", arguments) as context:
        command.invoke(context)
    options = called["options"]
    assert (options.from_, options.learning_rate, options.vllm) == ("init", 1e-3, "server")
    assert options.training == ("num_iterations=2", "epsilon=0.1")
    assert options.allow_code_execution
    assert not options.unsafe_code_execution
    assert (options.mask, options.quantize, options.seed) == ("none", "4bit", 0)
    assert called["given"] == [
        *("allow_code_execution", "from_", "learning_rate", "mask", "quantize", "run_dir"),
        *("training", "vllm"),
    ]
