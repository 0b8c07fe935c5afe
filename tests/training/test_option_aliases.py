"""Options given by the names of TRL's trainer configurations count as the options they are."""

import dataclasses

import pytest

from lorapar_cli.errors import UsageError
from lorapar_cli.options import options_of
from lorapar_cli.training.option_aliases import adopt_options, to_float
from lorapar_cli.training.options import RlOptions, SftOptions


@pytest.mark.parametrize("options_class", [SftOptions, RlOptions])
def test_every_trainer_argument_of_an_option_is_one_of_the_stages_trainer(options_class):
    from trl import GRPOConfig, SFTConfig

    config_class = SFTConfig if options_class is SftOptions else GRPOConfig
    named = [each.stated.trainer for each in options_of(options_class) if each.stated.trainer]
    assert len(set(named)) == len(named) >= 14
    assert set(named) <= {field.name for field in dataclasses.fields(config_class)}


def test_values_move_to_the_options_and_the_rest_stays():
    pairs = (
        *("learning_rate=1e-4", "num-train-epochs=2", "max_steps=7", "optim=sgd", "seed=3"),
        *("gradient_checkpointing=true", "warmup_steps=3", "adam_beta2=0.95"),
        "neftune_noise_alpha=5",
    )
    options = adopt_options(SftOptions(training=pairs), ["weight_decay"])
    assert options == SftOptions(
        learning_rate=1e-4,
        epochs=2.0,
        max_steps=7,
        optimizer="sgd",
        seed=3,
        gradient_checkpointing=True,
        warmup=3.0,
        training=("adam_beta2=0.95", "neftune_noise_alpha=5"),
    )
    assert type(options.epochs) is float
    # The second beta is an option of train-rl alone.
    assert adopt_options(RlOptions(training=("adam_beta2=0.9", "beta=0.1")), ()) == RlOptions(
        adam_beta2=0.9, kl_beta=0.1
    )


def test_the_same_by_both_names_is_refused():
    with pytest.raises(UsageError) as caught:
        adopt_options(
            SftOptions(training=("learning_rate=1", "seed=2")), ["learning_rate", "model"]
        )
    assert caught.value.found == "`learning_rate` and `--learning-rate` are both given"


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        ("learning_rate=abc", "`--learning-rate` takes a value of type float, not 'abc'"),
        ("learning_rate=.nan", "`--learning-rate` is not a finite number"),
        ("learning_rate=-1", "`--learning-rate` must be above 0, not -1"),
        ("learning_rate=", "`--learning-rate` needs a value"),
        ("weight_decay=true", "`--weight-decay` takes a value of type float, not True"),
        ("max_steps=1.5", "`--max-steps` takes a value of type int, not 1.5"),
        ("seed=[", "is not valid YAML"),
        ("seed=true", "`--seed` takes a value of type int, not True"),
        (
            "per_device_train_batch_size=0",
            "`--per-device-batch-size` must be at least 1 and at most 1,048,576, not 0",
        ),
        ("optim=3", "`--optimizer` takes a value of type str, not 3"),
        ("gradient_checkpointing=1", "`--gradient-checkpointing` takes a value of type bool"),
        ("max_length=two", "`--max-length` takes a value of type int, not 'two'"),
    ],
)
def test_values_that_the_option_refuses_are_refused(pair, problem):
    with pytest.raises(UsageError) as caught:
        adopt_options(SftOptions(training=(pair,)), ())
    assert caught.value.found.startswith(f"`{pair}`: {problem}")


def test_every_problem_is_in_one_message():
    with pytest.raises(UsageError) as caught:
        adopt_options(SftOptions(training=("seed=x", "warmup_steps=-1")), ())
    assert len(caught.value.found.splitlines()) == 2


@pytest.mark.parametrize(
    ("value", "expected"), [("1e-4", 1e-4), (2, 2.0), ("x", "x"), (True, True), (None, None)]
)
def test_text_that_stands_for_a_number_becomes_it(value, expected):
    assert to_float(value) == expected
    assert type(to_float(value)) is type(expected)
