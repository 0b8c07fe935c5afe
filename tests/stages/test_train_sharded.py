"""Training under engines that shard the model: refused clearly, or frozen just the same."""

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Stage
from lorapar_cli.settings import RlOptions, SftOptions
from lorapar_cli.stages.train_rl import train_rl
from lorapar_cli.stages.train_sft import train_sft


@pytest.fixture
def launched(monkeypatch):
    """A function that sets what `accelerate launch` would."""

    def launch(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return launch


def test_fsdp1_is_refused_before_any_work(run_dir, launched):
    launched(ACCELERATE_USE_FSDP="true", FSDP_VERSION="1")
    with pytest.raises(LoraparError, match="FSDP1") as caught:
        train_sft(run_dir, SftOptions())
    assert "accelerate-fsdp2.yaml" in caught.value.hint
    source = run_dir.folder(Stage.SCORE) / "adapter"
    with pytest.raises(LoraparError, match="FSDP1"):
        train_rl(run_dir, RlOptions(), adapter=source)
    assert not run_dir.folder(Stage.TRAIN_SFT).exists()
    assert not run_dir.folder(Stage.TRAIN_RL).exists()


def test_fsdp2_that_became_something_else_is_an_error(run_dir, launched):
    """On a CPU accelerate makes DDP, or one process, of a request for FSDP."""
    launched(ACCELERATE_USE_FSDP="true", FSDP_VERSION="2")
    with pytest.raises(LoraparError, match="FSDP2 was asked for, but accelerate does not run it"):
        train_sft(run_dir, SftOptions(max_steps=1))
    assert run_dir.manifest(Stage.TRAIN_SFT) is None


@pytest.mark.parametrize("argument", ["fsdp=true", "deepspeed=x.json", "fsdp_config={version: 1}"])
def test_engines_are_asked_for_by_the_launcher_only(run_dir, argument):
    with pytest.raises(UsageError) as caught:
        train_sft(run_dir, SftOptions(training=(argument,)))
    assert "accelerate launch" in caught.value.found
