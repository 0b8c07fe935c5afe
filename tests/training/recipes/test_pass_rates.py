"""Prompts filtered by pass rate: sampled once from the starting model, counted, bound to what decides."""

from dataclasses import replace

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.stage_records.training import RlRecord
from lorapar_cli.training.options import RlOptions
from lorapar_cli.training.preflight import check_training_options, find_rewards
from lorapar_cli.training.recipes.judges import find_judges
from lorapar_cli.training.rewards.builtin import REWARDS
from lorapar_cli.training.rewards.load import resolve_rewards
from lorapar_cli.training.train_rl import train_rl
from tests.training.test_train_resume import copy
from tests.training.training_runs import RL, Killed, adapter_bytes, lines

pytestmark = pytest.mark.usefixtures("reward_with_spread")

FILTER = replace(
    RL,
    from_="init",
    max_steps=2,
    rewards="answer,length",
    min_pass=0.25,
    max_pass=0.75,
    pass_samples=4,
    sample_batch_size=5,
)


@pytest.fixture(autouse=True)
def sometimes_right(monkeypatch):
    """A random model is never right. By this reward it is always, never or sometimes."""

    def right(texts, answers):
        kinds = [int(answer) % 3 for answer in answers]
        return [
            float(kind == 0 or (kind == 1 and text < "M"))
            for text, kind in zip(texts, kinds, strict=True)
        ]

    monkeypatch.setitem(REWARDS, "answer", right)


def test_only_prompts_within_the_limits_are_trained_on(run_dir, batches):
    manifest = train_rl(run_dir, FILTER).manifest
    record = manifest.record(RlRecord)
    found, rates = (
        record.metrics["pass_filter"],
        lines(run_dir, Stage.TRAIN_RL, Artifact.PASS_RATES),
    )
    assert sum(batches.sizes) == found["completions"] == 12 * 4
    assert [line["rate"] for line in rates] == [line["passed"] / 4 for line in rates]
    assert [line["kept"] for line in rates] == [0.25 <= line["rate"] <= 0.75 for line in rates]
    assert (found["never"], found["always"]) == (
        sum(line["passed"] == 0 for line in rates),
        sum(line["passed"] == 4 for line in rates),
    )
    # Four records each are always and never right.
    assert found["never"] >= 4 <= found["always"]
    assert found["asked"] == 12 == found["kept"] + found["too_low"] + found["too_high"]
    assert record.counts["trained_records"] == found["kept"] >= 2
    kept = {line["id"] for line in rates if line["kept"]}
    trained = {line["id"] for line in lines(run_dir, Stage.TRAIN_RL, Artifact.COMPLETIONS)}
    assert trained <= kept
    (note,) = [note for note in manifest.notes if "left out by pass rate" in note]
    assert f"{12 - found['kept']} of 12 prompts" in note
    assert Artifact.PASS_RATES in manifest.outputs


def test_replayed_records_are_counted_after_the_filter(run_dir):
    manifest = train_rl(run_dir, replace(FILTER, replay=0.5)).manifest
    record = manifest.record(RlRecord)
    kept = {
        line["id"] for line in lines(run_dir, Stage.TRAIN_RL, Artifact.PASS_RATES) if line["kept"]
    }
    others = {name for name in kept if name.startswith("s1-")}
    assert record.counts["records"] == {"system1": 12, "system2": 12}
    assert record.counts["trained_records"] == len(kept)
    assert record.counts["replayed_records"] == len(others) < 12
    (note,) = [note for note in manifest.notes if "`--replay 0.5` is their share before" in note]
    assert note.startswith(f"{len(others)} of the records left by pass rate, ")


def test_a_kill_loses_no_sample_and_none_is_made_twice(run_dir, tmp_path, batches):
    straight = copy(run_dir, tmp_path / "straight")
    train_rl(straight, FILTER)
    whole = list(batches.sizes)
    batches.sizes.clear()
    batches.kill_at.add(5)
    with pytest.raises(Killed):
        train_rl(run_dir, FILTER)
    train_rl(run_dir, FILTER)
    assert batches.sizes == whole
    for name in (Artifact.PASS_RATES, Artifact.COMPLETIONS):
        assert lines(run_dir, Stage.TRAIN_RL, name) == lines(straight, Stage.TRAIN_RL, name)
    assert adapter_bytes(run_dir, Stage.TRAIN_RL) == adapter_bytes(straight, Stage.TRAIN_RL)


def test_nothing_left_is_an_error_with_what_was_found(run_dir):
    with pytest.raises(LoraparError, match=r"pass rate from 0\.9 to 0\.95") as caught:
        train_rl(run_dir, replace(FILTER, min_pass=0.9, max_pass=0.95))
    assert caught.value.found.startswith("of 12 prompts ")
    assert run_dir.manifest(Stage.TRAIN_RL) is None


def test_one_limit_is_enough_and_limits_count_as_within(run_dir):
    train_rl(run_dir, replace(FILTER, min_pass=None, max_pass=0.0))
    rates = lines(run_dir, Stage.TRAIN_RL, Artifact.PASS_RATES)
    assert {line["rate"] for line in rates if line["kept"]} == {0.0}
    assert {line["kept"] for line in rates if line["rate"] > 0} == {False}


def test_a_dry_run_samples_nothing_and_says_how_much_it_would(run_dir, batches):
    manifest = train_rl(run_dir, replace(FILTER, dry_run=True)).manifest
    assert batches.sizes == []
    assert any("48 completions of 12 prompts are sampled" in note for note in manifest.notes)


def test_the_judges_are_those_that_compare_with_the_reference():
    def judges(text):
        return list(find_judges(resolve_rewards(text)))

    assert judges("answer=2,format=0.5") == ["answer"]
    assert judges("choice,answer,tests.faults.rewards.length") == ["choice", "answer"]
    assert judges("format,tests.faults.rewards.length") == ["tests.faults.rewards.length"]
    with pytest.raises(UsageError, match="tells right from wrong") as caught:
        judges("format,tags")
    assert caught.value.found == "the rewards are format, tags"


def test_what_cannot_be_filtered_is_known_before_anything_is_loaded():
    with pytest.raises(UsageError, match="no pass rate is within the limits"):
        RlOptions(min_pass=0.6, max_pass=0.5)
    with pytest.raises(UsageError, match="no pass rate is within the limits"):
        RlOptions(min_pass=0.1, max_pass=0.0)
    with pytest.raises(UsageError, match="`--max-pass` must be at least 0 and at most 1"):
        RlOptions(max_pass=80)
    unjudged = RlOptions(rewards="format", min_pass=0.1)
    for check in (find_rewards, lambda options: check_training_options(options, [])):
        with pytest.raises(UsageError, match="tells right from wrong"):
            check(unjudged)
