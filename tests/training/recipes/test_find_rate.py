"""`--find-lr`: a search that leaves nothing behind but a rate, once, and the same one every time."""

from dataclasses import replace

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.stage_records.training import TrainingRecord
from lorapar_cli.store.records import Record
from lorapar_cli.training import sft
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.preflight import check_training_options
from lorapar_cli.training.recipes import find_rate
from lorapar_cli.training.recipes.default_rate import rate_note, source_of_rate
from lorapar_cli.training.recipes.find_rate import hold_out, small
from lorapar_cli.training.rewards.builtin import REWARDS
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from tests.training.test_train_resume import copy
from tests.training.training_runs import RL, SFT, Killed, adapter_bytes, lines

DEFAULT_SFT, DEFAULT_RL = SftOptions().learning_rate, RlOptions().learning_rate
FIND_SFT = replace(
    SFT, learning_rate=DEFAULT_SFT, find_lr=True, find_lr_steps=3, data="all", max_steps=2
)
FIND_RL = replace(
    RL,
    learning_rate=DEFAULT_RL,
    find_lr=True,
    find_lr_steps=5,
    max_steps=2,
    data="all",
    from_="init",
    rewards="letters",
)
STAGES = [
    (train_sft, FIND_SFT, Stage.TRAIN_SFT, "loss"),
    (train_rl, FIND_RL, Stage.TRAIN_RL, "reward"),
]


@pytest.fixture(autouse=True)
def a_reward_that_is_soon_learnt(monkeypatch):
    def letters(texts, _):
        return [sum(c.isascii() and c.isalnum() for c in text) / 12 for text in texts]

    monkeypatch.setitem(REWARDS, "letters", letters)


@pytest.fixture
def trials(monkeypatch):
    """The options of the trials that are trained; `kill` holds numbers of trials to be killed at."""
    made, kill, real = [], [], find_rate.small

    def count(options, rate):
        if len(made) in kill:
            kill.clear()
            raise Killed
        made.append(rate)
        return real(options, rate)

    monkeypatch.setattr(find_rate, "small", count)
    return made, kill


@pytest.mark.parametrize(("stage", "options", "name", "measure"), STAGES)
def test_the_found_rate_trains_as_if_it_were_given(
    run_dir, tmp_path, stage, options, name, measure
):
    given = copy(run_dir, tmp_path / "given")
    record = stage(run_dir, options).manifest.record(TrainingRecord)
    search = record.metrics["rate_search"]
    assert search["found"], search
    assert search["measure"] == measure
    assert record.metrics["learning_rate_from"] == "found"
    rate = record.metrics["learning_rate"]
    assert rate == search["rate"] in [point["rate"] for point in search["curve"]]
    values = [point["value"] for point in search["curve"] if point["value"] is not None]
    best = min(values) if measure == "loss" else max(values)
    (chosen,) = [point for point in search["curve"] if point["rate"] == rate]
    assert abs(chosen["value"] - best) <= max(chosen["error"], 1e-12)
    assert lines(run_dir, name, Artifact.LEARNING_RATES) == search["curve"]
    manifest = stage(given, replace(options, find_lr=False, learning_rate=rate)).manifest
    assert manifest.metrics["learning_rate_from"] == "given"
    assert adapter_bytes(run_dir, name) == adapter_bytes(given, name)
    assert not list(run_dir.folder(name).glob("unfinished*"))
    assert not stage(run_dir, options).fresh


def test_a_killed_search_repeats_no_trial_and_finds_the_same(run_dir, tmp_path, trials):
    made, kill = trials
    stage, options, name, _ = STAGES[0]
    straight = copy(run_dir, tmp_path / "straight")
    whole = stage(straight, options).manifest.metrics["rate_search"]
    rates = list(made)
    made.clear()
    kill.append(2)
    with pytest.raises(Killed):
        stage(run_dir, options)
    assert stage(run_dir, options).manifest.metrics["rate_search"] | {"seconds": 0} == whole | {
        "seconds": 0
    }
    assert made == rates
    assert adapter_bytes(run_dir, name) == adapter_bytes(straight, name)


def test_a_run_killed_after_the_search_keeps_the_rate(run_dir, trials, monkeypatch):
    made, _ = trials
    real = sft.fit_sft

    def fit(run, *arguments):
        if run.work.name != "unfinished-trial":
            raise Killed
        return real(run, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(sft, "fit_sft", fit)
        train_sft(run_dir, FIND_SFT)
    count = len(made)
    assert train_sft(run_dir, FIND_SFT).manifest.metrics["learning_rate_from"] == "found"
    assert len(made) == count


def test_trials_leave_frozen_elements_and_start_from_the_stages_adapter(run_dir, monkeypatch):
    """Every trial starts at the same loss, and a mask holds in it as in the stage."""
    seen, real = [], sft.fit_sft

    def fit(run, tokenizer, encoded, options, extra):
        before = {
            n: p.detach().clone() for n, p in run.masked.model.named_parameters() if p.requires_grad
        }
        assert all(
            (before[n.replace(".weight", ".default.weight")] == weight).all()
            for n, weight in run.masked.start.weights.items()
        )
        figures = real(run, tokenizer, encoded, options, extra)
        for n, p in run.masked.model.named_parameters():
            if n in before:
                moved = p.detach() != before[n]
                active = run.masked.start.active[n.replace(".default.", ".")]
                assert not moved[~active].any()
        seen.append((options.learning_rate, options.max_steps, len(encoded)))
        return figures

    monkeypatch.setattr(sft, "fit_sft", fit)
    search = train_sft(run_dir, FIND_SFT).manifest.metrics["rate_search"]
    assert sorted(rate for rate, *_ in seen[:-1]) == [point["rate"] for point in search["curve"]]
    assert {tuple(rest) for _, *rest in seen[:-1]} == {(3, 24 - search["held_out"])}
    assert seen[-1] == (search["rate"], 2, 24)


def test_a_search_without_a_better_rate_says_so_and_uses_the_default(run_dir, monkeypatch):
    monkeypatch.setattr(find_rate.rate_search, "choose_rung", lambda *_: None)
    manifest = train_sft(run_dir, FIND_SFT).manifest
    assert manifest.metrics["learning_rate"] == DEFAULT_SFT
    assert manifest.metrics["learning_rate_from"] == "default"
    assert any("the default stays" in note for note in manifest.notes)


def test_a_search_without_a_gradient_ends_at_once_and_is_no_error(run_dir, trials, monkeypatch):
    made, _ = trials
    searched: list[bool] = []

    def flat_in_trials(texts, _):
        # Until the search is over, no completion is better than another.
        return [len(set(text)) / 10 if searched else 0.0 for text in texts]

    monkeypatch.setitem(REWARDS, "letters", flat_in_trials)
    conclude = find_rate._Search.conclude

    def concluded(search):
        searched.append(True)
        return conclude(search)

    monkeypatch.setattr(find_rate._Search, "conclude", concluded)
    manifest = train_rl(run_dir, FIND_RL).manifest
    assert made == [DEFAULT_RL]
    search = manifest.metrics["rate_search"]
    assert (search["found"], search["rate"], len(search["curve"])) == (False, DEFAULT_RL, 1)
    assert any("no step of 5 had a gradient" in note for note in manifest.notes)


@pytest.mark.parametrize("options", [FIND_SFT, FIND_RL])
def test_a_rate_that_is_given_and_to_be_found_is_refused(run_dir, options):
    stage = train_sft if isinstance(options, SftOptions) else train_rl
    for named in (
        {"given": ["learning_rate"], "options": options},
        {"given": [], "options": replace(options, training=("learning_rate=1e-3",))},
    ):
        with pytest.raises(UsageError, match="are both given"):
            stage(run_dir, named["options"], given=named["given"])
        with pytest.raises(UsageError, match="are both given"):
            check_training_options(named["options"], named["given"])


def test_too_few_records_are_refused_with_what_is_needed():
    with pytest.raises(LoraparError, match="too few records for `--find-lr`") as caught:
        hold_out([Record(str(n), "p", "c") for n in range(15)], 64, 0)
    assert "give 16 records or more" in caught.value.hint
    held, rest = hold_out(list(range(1000)), 64, 0)
    assert len(held) == 64
    assert sorted(held + rest) == list(range(1000))
    assert hold_out(list(range(1000)), 64, 1)[0] != held
    assert len(hold_out(list(range(100)), 64, 0)[0]) == 25


def test_a_trial_is_the_stage_in_small():
    options = small(replace(RL, warmup=50, report_to="tensorboard", find_lr=True), 0.5)
    assert (options.learning_rate, options.max_steps, options.find_lr) == (0.5, 10, False)
    assert (options.warmup, options.report_to) == (0.1, "none")
    assert small(replace(RL, warmup=0.25), 0.5).warmup == 0.25
    assert (options.rewards, options.optimizer, options.seed) == (RL.rewards, RL.optimizer, RL.seed)


def test_a_dry_run_finds_nothing_and_says_what_it_would(run_dir, trials):
    manifest = train_sft(run_dir, replace(FIND_SFT, dry_run=True)).manifest
    assert trials[0] == []
    assert any("is found by trials of 3 steps" in note for note in manifest.notes)


def test_the_default_is_said_with_its_reason_where_few_elements_are_active():
    for options in (SftOptions(), RlOptions()):
        assert source_of_rate(options, []) == "default"
        assert rate_note(options, "default", 40, 100) is None
        assert rate_note(options, "default", 100, 100) is None
        note = rate_note(options, "default", 5, 1000)
        assert f"learning rate {options.learning_rate:g} is the paper's" in note
        assert "`--find-lr`" in note
        assert rate_note(options, "given", 5, 1000) is None
    assert source_of_rate(SftOptions(learning_rate=1e-3), []) == "given"
    assert source_of_rate(SftOptions(), ["learning_rate"]) == "given"
    assert source_of_rate(SftOptions(find_lr=True), []) == "found"
