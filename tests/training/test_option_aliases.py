"""Options given by the names of TRL's trainer configurations count as the options they are."""

import dataclasses

import pytest

from lorapar_cli.errors import UsageError
from lorapar_cli.training.option_aliases import _FIELDS, adopt_options
from lorapar_cli.training.options import RlOptions, SftOptions


def test_every_name_is_an_argument_of_the_trainer_and_a_field_of_the_options():
    from trl import GRPOConfig, SFTConfig

    known = {f.name for c in (SFTConfig, GRPOConfig) for f in dataclasses.fields(c)}
    own = {f.name for c in (SftOptions, RlOptions) for f in dataclasses.fields(c)}
    assert _FIELDS.keys() <= known
    assert set(_FIELDS.values()) <= own


def test_values_move_to_the_options_and_the_rest_stays():
    pairs = (
        *("learning_rate=1e-4", "num-train-epochs=2", "max_steps=7", "optim=sgd"),
        *(
            "gradient_checkpointing=true",
            "warmup_steps=3",
            "adam_beta2=0.95",
            "neftune_noise_alpha=5",
        ),
    )
    options = adopt_options(SftOptions(training=pairs), ["weight_decay"])
    assert options == SftOptions(
        learning_rate=1e-4,
        epochs=2.0,
        max_steps=7,
        optimizer="sgd",
        gradient_checkpointing=True,
        warmup=3.0,
        training=("adam_beta2=0.95", "neftune_noise_alpha=5"),
    )
    assert type(options.epochs) is float
    # The second beta is an option of train-rl alone.
    assert adopt_options(RlOptions(training=("adam_beta2=0.9", "beta=0.1")), None) == RlOptions(
        adam_beta2=0.9, kl_beta=0.1
    )


def test_the_same_by_both_names_is_refused():
    with pytest.raises(UsageError) as caught:
        adopt_options(
            SftOptions(training=("learning_rate=1", "seed=2")), ["learning_rate", "model"]
        )
    assert caught.value.found == "`learning_rate` and `--learning-rate` are both given"


@pytest.mark.parametrize(
    "pair",
    [
        *("learning_rate=abc", "learning_rate=.nan", "learning_rate=-1", "weight_decay=true"),
        *("max_steps=1.5", "seed=[", "seed=true", "per_device_train_batch_size=0", "optim=3"),
        *("gradient_checkpointing=1", "max_length=two", "learning_rate="),
    ],
)
def test_values_of_another_kind_are_refused(pair):
    with pytest.raises(UsageError) as caught:
        adopt_options(SftOptions(training=(pair,)), None)
    assert f"`{pair}` is no value of `--" in caught.value.found
