"""Options of both training stages: what they accept, and which of them decide the adapter."""

import dataclasses

import pytest

from lorapar_cli.errors import UsageError
from lorapar_cli.names import Stage
from lorapar_cli.options import options_of
from lorapar_cli.store.run_dir import ADAPTERS
from lorapar_cli.training.options import (
    TRACKERS,
    RlOptions,
    SftOptions,
    TrainingOptions,
    argument_name,
    deciding,
)
from lorapar_cli.training.rewards.builtin import REWARDS, parse_weights
from lorapar_cli.training.rewards.names import BUILTIN, reward_names
from lorapar_cli.training.watching.options import WatchOptions

STAGES = [SftOptions, RlOptions]


def decided(options) -> dict:
    return deciding(options.settings())


def stated(options_class) -> dict:
    return {each.name: each for each in options_of(options_class)}


@pytest.mark.parametrize("options_class", STAGES)
def test_a_stage_states_no_option_of_the_base_class_again(options_class):
    common, own = stated(TrainingOptions), stated(options_class)
    for name, each in common.items():
        assert own[name].stated is each.stated
        assert own[name].kind is each.kind


@pytest.mark.parametrize("options_class", STAGES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.0}, "`--learning-rate` must be above 0, not 0"),
        ({"learning_rate": float("nan")}, "`--learning-rate` is not a finite number"),
        ({"epochs": 0.0}, "`--epochs` must be above 0"),
        ({"max_steps": 0}, "`--max-steps 0` trains nothing"),
        ({"max_steps": -2}, "`--max-steps` must be at least -1"),
        ({"replay": 0.95}, "`--replay` must be at least 0 and at most 0.9"),
        ({"dtype": "int4"}, "`--dtype` has no `int4`"),
        ({"from_": "score"}, "`--from` has no `score`"),
        ({"report_to": "wandbb"}, "unknown tracker `wandbb`, did you mean `wandb`?"),
    ],
)
def test_values_that_cannot_be_used_are_refused(options_class, change, message):
    with pytest.raises(UsageError) as caught:
        options_class(**change)
    assert caught.value.what.startswith(message)


@pytest.mark.parametrize("name", TRACKERS)
def test_help_names_every_tracker_that_is_accepted(name):
    assert SftOptions(report_to=name).report_to == name
    assert name in stated(SftOptions)["report_to"].stated.doc.replace(".", ",").split(":")[1]


def test_help_names_every_reward_that_is_accepted():
    doc = stated(RlOptions)["rewards"].stated.doc
    assert [*REWARDS] == [*BUILTIN]
    assert set(REWARDS) < set(reward_names())
    for name in reward_names():
        assert parse_weights(name) == {name: 1.0}
        assert f"{name}," in doc or f"{name};" in doc


def test_adapters_to_start_from_are_those_of_a_run():
    assert set(stated(SftOptions)["from_"].choices) == set(ADAPTERS)
    assert set(ADAPTERS.values()) == {Stage.SCORE, Stage.TRAIN_SFT, Stage.TRAIN_RL}


@pytest.mark.parametrize(
    "change",
    [
        {"save_steps": 7},
        {"report_to": "wandb"},
        {"patience_steps": 3},
        {"training": ("run_name=x", "log-level=info", "logging_first_step=true")},
        {"overwrite": True},
        {"dry_run": True},
        {"mask": "none"},
    ],
)
def test_what_is_written_besides_the_result_or_read_as_an_input_decides_nothing(change):
    assert decided(dataclasses.replace(RlOptions(), **change)) == decided(RlOptions())


@pytest.mark.parametrize("options_class", STAGES)
def test_every_other_recorded_setting_decides(options_class):
    settings = options_class(eval_steps=5).settings()
    idle = {
        "find_lr_steps",
        "sample_batch_size",
        "replay_temperature",
        "refill_limit",
        "pass_samples",
    }
    without = {"save_steps", "report_to", "patience_steps", "forgetting", "watch"} | idle
    for name in settings.keys() - without:
        assert deciding(settings | {name: ["weight=1"]}) != deciding(settings), name


def test_options_of_a_recipe_decide_where_it_is_on():
    assert decided(SftOptions(replay_temperature=0.5)) == decided(SftOptions())
    assert decided(RlOptions(refill_limit=9)) == decided(RlOptions())
    assert decided(RlOptions(refill=True, refill_limit=9)) != decided(RlOptions(refill=True))
    assert decided(RlOptions(pass_samples=9)) == decided(RlOptions())
    for name in ("pass_samples", "sample_batch_size", "max_pass"):
        filtered = RlOptions(min_pass=0.1)
        assert deciding(filtered.settings() | {name: 1}) != decided(filtered), name
    assert decided(RlOptions(find_lr_steps=9)) == decided(RlOptions())
    for name in ("find_lr_steps", "sample_batch_size"):
        finding = RlOptions(find_lr=True)
        assert deciding(finding.settings() | {name: 99}) != decided(finding), name
    on = SftOptions(replay=0.1, replay_source="self")
    for name in ("sample_batch_size", "replay_temperature", "replay", "replay_source"):
        assert deciding(on.settings() | {name: 3}) != decided(on), name


def test_settings_of_a_validation_part_decide_where_there_is_one():
    """Runs of earlier versions, without such settings, are runs without a validation part."""
    names = {each.name for each in options_of(WatchOptions)}
    before = {name: value for name, value in SftOptions().settings().items() if name not in names}
    assert deciding(before) == decided(SftOptions())
    assert decided(SftOptions(eval_match="exact")) == decided(SftOptions())
    assert decided(SftOptions(eval_steps=5)) != decided(SftOptions())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keep": "best"}, "`--keep best` needs validation figures"),
        ({"stop_after": 2}, "`--stop-after` needs validation figures"),
        ({"validation": "0.2"}, "`--validation` needs validation figures"),
        ({"watch": 3, "forgetting": False}, "which `--no-forgetting` turns off"),
        ({"eval_steps": 1, "validation": "0.7"}, "at most 0.5 as a share, not 0.7"),
        ({"eval_steps": 1, "validation": "nan"}, "at most 0.5 as a share"),
        ({"eval_steps": 0}, "at least 1"),
    ],
)
def test_options_of_watching_that_do_not_fit_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        RlOptions(**given)


@pytest.mark.parametrize(
    ("given", "share", "file"),
    [
        ({}, None, None),
        ({"eval_steps": 5}, 0.1, None),
        ({"eval_steps": 5, "validation": "0.25"}, 0.25, None),
        ({"eval_steps": 5, "validation": "mine.jsonl"}, None, "mine.jsonl"),
        ({"eval_steps": 5, "validation": "./0.25"}, None, "./0.25"),
    ],
)
def test_a_validation_part_is_a_share_or_a_file(given, share, file):
    options = SftOptions(**given)
    assert (options.validation_share, options.validation_file) == (share, file)


def test_patience_decides_where_it_ends_the_run():
    stopping = RlOptions(stop_without_spread=True)
    assert decided(stopping) != decided(dataclasses.replace(stopping, patience_steps=3))
    assert decided(RlOptions(training=("seed=3", "run_name=x")))["training"] == ["seed=3"]


@pytest.mark.parametrize(
    ("pair", "name"),
    [
        ("learning_rate=1", "learning_rate"),
        (" log-level = info", "log_level"),
        ("packing", "packing"),
    ],
)
def test_name_of_a_trainer_argument(pair, name):
    assert argument_name(pair) == name
