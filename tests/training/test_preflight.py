"""What is known to fail before anything is read or loaded."""

import subprocess
import sys
from dataclasses import replace

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.preflight import (
    check_training_options,
    find_rewards,
    read_trainer_arguments,
)


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        (SftOptions(training=("neftun_noise_alpha=5",)), ["training"], "does not take"),
        (SftOptions(training=("epochs=2",)), ["training"], "does not take"),
        (SftOptions(optimizer="adamw"), ["optimizer"], "unknown optimizer"),
        (SftOptions(training=("seed=1",)), ["seed", "training"], "do not fit the options"),
        (RlOptions(rewards="answr"), ["rewards"], "unknown reward `answr`"),
        (RlOptions(rewards="code"), ["rewards"], "runs programs"),
        (RlOptions(num_generations=7), ["num_generations"], "do not divide into groups of 7"),
    ],
)
def test_options_that_the_stage_would_refuse_are_refused(options, given, message):
    with pytest.raises(UsageError, match=message):
        check_training_options(options, given)


def test_a_group_may_lie_in_several_processes(monkeypatch):
    options = RlOptions(per_device_batch_size=2, gradient_accumulation=1, num_generations=4)
    with pytest.raises(UsageError, match="2 completions per step"):
        find_rewards(options)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert list(find_rewards(options)) == ["answer", "format"]


def test_permission_reaches_the_reward(monkeypatch):
    asked = []
    monkeypatch.setattr("lorapar_cli.training.rewards.load.find_backend", asked.append)
    options = RlOptions(rewards="code", allow_code_execution=True)
    find_rewards(options)
    find_rewards(replace(options, unsafe_code_execution=True))
    assert asked == [False, True]


def test_arguments_are_those_of_the_stages_trainer():
    assert read_trainer_arguments(SftOptions(training=("neftune_noise_alpha=5",))) == {
        "neftune_noise_alpha": 5
    }
    assert read_trainer_arguments(RlOptions(training=("num_iterations=2",))) == {
        "num_iterations": 2
    }
    with pytest.raises(UsageError, match="SFTConfig"):
        read_trainer_arguments(SftOptions(training=("num_iterations=2",)))


def test_a_missing_tracker_is_found(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(LoraparError, match="`swanlab` is not installed"):
        check_training_options(SftOptions(report_to="swanlab"), ["report_to"])


def test_defaults_are_checked_without_loading_a_library():
    code = (
        "import sys\nfrom lorapar_cli.training.options import RlOptions\n"
        "from lorapar_cli.training.preflight import check_training_options\n"
        "check_training_options(RlOptions(), ['learning_rate', 'rewards'])\n"
        "print(sorted({'torch', 'transformers', 'trl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
