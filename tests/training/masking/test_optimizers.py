"""Which optimizers are accepted, what is said about the others, and what is created."""

import importlib.util

import pytest
import torch
from transformers import TrainingArguments
from transformers.training_args import OptimizerNames

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.training.masking import optimizers
from lorapar_cli.training.masking.optimizers import (
    make_optimizer,
    optimizer_notes,
    require_optimizer,
)
from lorapar_cli.training.options import RlOptions, SftOptions

PYTORCH = ["adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "rmsprop"]
SCHEDULE_FREE = ["schedule_free_adamw", "schedule_free_radam", "schedule_free_sgd"]
ACCEPTED = [
    *PYTORCH,
    "adafactor",
    *("adamw_bnb_8bit", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"),
    *("ademamix", "ademamix_8bit", "paged_ademamix_8bit", "paged_ademamix_32bit"),
    *("lion_8bit", "lion_32bit", "paged_lion_8bit", "paged_lion_32bit"),
    *("rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit"),
    *SCHEDULE_FREE,
    "stable_adamw",
    *("adamw_torch_xla", "adamw_torch_npu_fused", "adamw_anyprecision"),
]
# Name -> a part of the reason, a part of the hint.
REFUSED = {
    "galore_adamw": ("whole matrices", "adamw_8bit"),
    "galore_adamw_8bit": ("whole matrices", "adamw_8bit"),
    "galore_adafactor": ("whole matrices", "adamw_8bit"),
    "galore_adamw_layerwise": ("whole matrices", "adamw_8bit"),
    "galore_adamw_8bit_layerwise": ("whole matrices", "adamw_8bit"),
    "galore_adafactor_layerwise": ("whole matrices", "adamw_8bit"),
    "apollo_adamw": ("whole matrices", "adamw_8bit"),
    "apollo_adamw_layerwise": ("whole matrices", "adamw_8bit"),
    "lomo": ("inside the backward pass", "adafactor"),
    "adalomo": ("inside the backward pass", "adafactor"),
    "adamw_torch_4bit": ("compiles its step", "adamw_8bit"),
    "adamw_torch_8bit": ("compiles its step", "adamw_8bit"),
    "grokadamw": ("a resumed run", "adamw_torch"),
}


@pytest.fixture
def everything_installed(monkeypatch):
    """What is refused must not depend on what is installed here."""
    monkeypatch.setattr(optimizers.importlib.util, "find_spec", lambda _: object())


def error_of(options, engine=Engine.WHOLE):
    with pytest.raises(LoraparError) as caught:
        require_optimizer(options, engine)
    return caught.value


def test_every_name_of_the_library_is_either_accepted_or_refused():
    """A name that a new version adds must be looked at before it trains anything."""
    assert {each.value for each in OptimizerNames} == {*ACCEPTED, *REFUSED}
    assert not {*ACCEPTED} & {*REFUSED}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("options_class", [SftOptions, RlOptions])
def test_refused_with_the_reason_and_what_to_use_instead(everything_installed, options_class, name):
    error = error_of(options_class(optimizer=name))
    reason, instead = REFUSED[name]
    assert isinstance(error, UsageError)
    assert error.what == f"optimizer `{name}` cannot train active elements only"
    assert reason in error.found
    assert f"`{instead}`" in error.hint


@pytest.mark.parametrize("name", ["lomo", "galore_adamw", "adamw_torch_8bit"])
def test_refusal_does_not_ask_for_a_package_that_would_not_help(monkeypatch, name):
    monkeypatch.setattr(optimizers.importlib.util, "find_spec", lambda _: None)
    assert "cannot train active elements only" in error_of(SftOptions(optimizer=name)).what


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted_where_its_package_is_installed(everything_installed, name):
    require_optimizer(SftOptions(optimizer=name), Engine.WHOLE)


@pytest.mark.parametrize("name", [n for n in ACCEPTED if n not in (*PYTORCH, "adafactor")])
def test_missing_package_is_named_with_how_to_get_it(monkeypatch, name):
    monkeypatch.setattr(optimizers.importlib.util, "find_spec", lambda _: None)
    error = error_of(SftOptions(optimizer=name))
    assert error.what.startswith(f"optimizer `{name}` needs `")
    assert error.hint


def test_unknown_name_is_refused_with_the_nearest_accepted_one():
    error = error_of(SftOptions(optimizer="adafactr"))
    assert "did you mean `adafactor`" in error.what
    assert "did you mean `galore" not in error_of(SftOptions(optimizer="galore_adam")).what
    assert set(error.hint.removeprefix("optimizers: ").split(", ")) == {*ACCEPTED}


@pytest.mark.parametrize("engine", [Engine.FSDP2, Engine.ZERO2, Engine.ZERO3])
def test_engines_refuse_what_they_cannot_divide(everything_installed, engine):
    for name in SCHEDULE_FREE:
        assert str(engine) in error_of(SftOptions(optimizer=name), engine).what
    for name in PYTORCH:
        require_optimizer(SftOptions(optimizer=name), engine)
    for name in ("adafactor", "adamw_bnb_8bit"):
        options = SftOptions(optimizer=name)
        if engine is Engine.FSDP2:
            assert "sharded parameters of FSDP2" in error_of(options, engine).what
        else:
            require_optimizer(options, engine)


def test_notes_name_dense_state_and_a_schedule_that_does_not_fit():
    assert optimizer_notes(SftOptions(), Engine.WHOLE) == []
    assert "frozen elements too" in optimizer_notes(SftOptions(), Engine.ZERO3)[0]
    options = SftOptions(optimizer="schedule_free_sgd", scheduler="cosine")
    assert "`--scheduler constant`" in optimizer_notes(options, Engine.WHOLE)[0]
    constant = SftOptions(optimizer="schedule_free_sgd", scheduler="constant")
    assert optimizer_notes(constant, Engine.WHOLE) == []


def arguments(tmp_path, **settings):
    return TrainingArguments(
        str(tmp_path), learning_rate=0.5, weight_decay=0.25, use_cpu=True, **settings
    )


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("adamw_torch", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
        ("adagrad", torch.optim.Adagrad),
        ("rmsprop", torch.optim.RMSprop),
    ],
)
def test_optimizer_owns_the_vectors_with_the_rate_and_weight_decay_given(tmp_path, name, wanted):
    values = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(5))]
    made = make_optimizer(arguments(tmp_path, optim=name), values)
    assert type(made) is wanted
    (group,) = made.param_groups
    assert group["params"] == values
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)


def test_optim_args_reach_the_optimizer(tmp_path):
    asked = arguments(tmp_path, optim="sgd", optim_args="momentum=0.75")
    made = make_optimizer(asked, [torch.nn.Parameter(torch.ones(3))])
    assert made.param_groups[0]["momentum"] == 0.75


def test_refusal_of_the_library_is_an_expected_error(tmp_path):
    asked = arguments(tmp_path, optim="sgd", optim_args="momentum=-1")
    with pytest.raises(LoraparError, match="optimizer `sgd` cannot be created") as caught:
        make_optimizer(asked, [torch.nn.Parameter(torch.ones(3))])
    assert "momentum" in caught.value.found


def test_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "needs `schedulefree`" in error_of(SftOptions(optimizer="schedule_free_sgd")).what
