"""Arguments of TRL's trainers: what options set, what a user may add, what was logged."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from trl import GRPOConfig, SFTConfig

from lorapar_cli.errors import UsageError
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.trainer_arguments import (
    build_config,
    checked_arguments,
    common_arguments,
    logged,
    parse_training_arguments,
)


def test_values_are_read_as_yaml():
    pairs = ("adam_epsilon=1e-6", "lr-scheduler-kwargs={a: 1}")
    expected = {"adam_epsilon": 1e-6, "lr_scheduler_kwargs": {"a": 1}}
    found = parse_training_arguments(pairs, SFTConfig)
    assert found == expected
    assert parse_training_arguments(("num_iterations=2",), GRPOConfig) == {"num_iterations": 2}


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ("completion_only_loss=false", "tokenized by lorapar"),
        ("packing=true", "set by `--packing`"),
        ("save_only_model=true", "same numbers"),
        ("eval_strategy=steps", "measured by lorapar (`--eval-steps`"),
        # Steps that are not logged would be taken for steps that learnt, and NaN for a loss.
        ("logging_steps=5", "every step is logged"),
        ("logging-strategy=no", "every step is logged"),
        ("logging_nan_inf_filter=true", "every step is logged"),
        ("push_to_hub=true", "lorapar export"),
        ("trust_remote_code=true", "--trust-remote-code"),
        ("model_init_kwargs={}", "loaded by lorapar"),
        ("adam_epsilon=[", "is not valid YAML"),
        ("adam_epsilon", "is not KEY=VALUE"),
    ],
)
def test_arguments_that_would_break_a_promise_are_refused(pair, reason):
    with pytest.raises(UsageError) as caught:
        parse_training_arguments((pair,), SFTConfig)
    assert reason in caught.value.found


@pytest.mark.parametrize("gpus", [0, 1, 8])
def test_one_process_trains_on_at_most_one_gpu(monkeypatch, tmp_path, gpus):
    monkeypatch.setattr(SFTConfig, "n_gpu", gpus)
    config = build_config(SFTConfig, {"output_dir": str(tmp_path), "use_cpu": True}, {})
    assert config._n_gpu == min(gpus, 1)


def test_every_problem_is_in_one_message():
    with pytest.raises(UsageError) as caught:
        parse_training_arguments(("lr_schduler_kwargs={}", "bf16=true"), SFTConfig)
    assert "did you mean `lr_scheduler_kwargs`?" in caught.value.found
    assert "--dtype" in caught.value.found


def test_options_set_the_arguments_that_they_name():
    options = RlOptions(epochs=2.0, optimizer="sgd", kl_beta=0.1, warmup=5.0, dtype="float16")
    found = common_arguments(options, Path("work"), torch.device("cpu"))
    expected = {"num_train_epochs": 2.0, "optim": "sgd", "beta": 0.1, "warmup_steps": 5.0}
    assert expected.items() <= found.items()
    assert (found["use_cpu"], found["bf16"], found["fp16"]) == (True, False, False)
    assert found["output_dir"] == "work/checkpoints"
    on_gpu = common_arguments(options, Path("work"), torch.device("cuda"))
    assert (on_gpu["use_cpu"], on_gpu["bf16"], on_gpu["fp16"]) == (False, False, True)


@pytest.mark.parametrize(
    ("options", "config_class"), [(SftOptions(), SFTConfig), (RlOptions(), GRPOConfig)]
)
def test_the_defaults_make_a_configuration(tmp_path, options, config_class):
    own = common_arguments(options, tmp_path, torch.device("cpu"))
    config = build_config(config_class, own, {"adam_epsilon": 1e-6})
    assert config.learning_rate == options.learning_rate
    assert config.adam_epsilon == 1e-6
    with pytest.raises(UsageError, match="do not fit together"):
        build_config(config_class, own, {"eval_strategy": "never"})


@pytest.mark.parametrize("cause", [ValueError("no such mode"), ImportError("no such package")])
def test_what_a_trainer_refuses_is_a_usage_error_where_the_user_added_to_it(cause):
    with pytest.raises(UsageError) as caught, checked_arguments({"packing": True}):
        raise cause
    assert caught.value.found == str(cause)
    assert "packing" in caught.value.hint


def test_what_a_trainer_refuses_of_ours_is_a_defect():
    with pytest.raises(ValueError, match="no such mode"), checked_arguments({}):
        raise ValueError("no such mode")


def test_figures_of_all_steps_that_have_them():
    history = [{"loss": 3.0, "step": 1}, {"loss": 1.0, "step": 2}, {"train_loss": 9.0, "step": 2}]
    trainer = SimpleNamespace(state=SimpleNamespace(log_history=history))
    assert logged(trainer, "loss") == [3.0, 1.0]
    assert logged(trainer, "reward") == []
