"""`doctor --model`: the memory of each stage, before weights are loaded."""

import json

import pytest

from lorapar_cli.cli.main import main
from lorapar_cli.errors import UsageError
from lorapar_cli.names import Stage
from lorapar_cli.tools.memory import MemoryOptions, examine


@pytest.fixture
def without_weights(tiny_model_dir, tmp_path):
    """A folder that holds a configuration only."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text((tiny_model_dir / "config.json").read_text())
    return folder


def shown(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *arguments])
    assert ended.value.code == 0
    return capsys.readouterr()


def test_every_stage_from_the_configuration_alone(without_weights, capsys):
    small = ["--max-length", "32", "--max-new-tokens", "8", "--batch-size", "4", "--rank", "4"]
    output = shown(capsys, "--model", str(without_weights), "--json", "--gpu-memory", "1", *small)
    found = json.loads(output.out)
    stages = {stage["stage"]: stage for stage in found["stages"]}
    assert [*stages] == ["score", "train-sft", "train-rl", "eval"]
    assert all(stage["fits"] for stage in stages.values())
    assert found["gpu"] == 2**30
    assert stages["score"]["parts"]["base model"] == 2 * found["parameters"]
    rl = stages["train-rl"]
    rollouts, passes = rl["parts"]["KV cache and rollouts"], rl["parts"]["activations (estimate)"]
    assert rl["total"] == sum(rl["parts"].values()) - min(rollouts, passes)
    table = shown(capsys, "--model", str(without_weights), "--gpu-memory", "0.001", *small)
    assert "does not fit" in table.out
    assert "--quantize 4bit" in table.err


def test_options_change_what_is_needed(without_weights):
    common = {"model": str(without_weights), "max_length": 32, "max_new_tokens": 8}

    def total(stage, **changed):
        found = examine(MemoryOptions(**common, batch_size=4, **changed))
        return {each.stage: each.total for each in found.stages}[stage]

    sft = total(Stage.TRAIN_SFT)
    assert total(Stage.TRAIN_SFT, dtype="float32") > sft
    assert total(Stage.TRAIN_SFT, r=32) > sft
    assert total(Stage.TRAIN_SFT, per_device_batch_size=16) > sft
    assert total(Stage.TRAIN_SFT, gradient_checkpointing=True) < sft
    assert total(Stage.SCORE, r=32) > total(Stage.SCORE)


@pytest.mark.parametrize(
    "given", [{"r": 4}, {"gpus": 2}, {"model": "embedded", "gpus": 2, "quantize": "4bit"}]
)
def test_options_that_mean_nothing_are_refused(given):
    with pytest.raises(UsageError):
        MemoryOptions(**given)
