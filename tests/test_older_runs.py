"""Runs of earlier builds: what they lack of today's options has the options' defaults."""

import hashlib
import json
import shutil
from dataclasses import replace

import pytest

from lorapar_cli import (
    LoraparError,
    RunDir,
    evaluate,
    partition,
    train_sft,
)
from lorapar_cli.evaluation.review.read import read_evaluation
from lorapar_cli.options import UNCHANGED, as_recorded, options_of
from lorapar_cli.tools.page.page import run_page
from lorapar_cli.tools.report import report
from tests.training.training_runs import Killed, adapter_bytes, kill_at
from tests.whole_run import STAGES, add_reward_with_spread, make_whole_run


@pytest.fixture(scope="module", autouse=True)
def reward_with_spread():
    with pytest.MonkeyPatch.context() as patch:
        add_reward_with_spread(patch)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_model_dir):
    """A run directory with every stage finished, and the options of each."""
    return make_whole_run(tmp_path_factory.mktemp("older"), tiny_model_dir)


def make_older(path, kind) -> set[str]:
    """Removes every setting that says no more than its option's default; returns their names."""
    content = json.loads(path.read_text())
    defaults = {
        each.name: as_recorded(each.default)
        for each in options_of(kind)
        if each.stated.earlier is UNCHANGED
    }
    removed = {
        name
        for name, value in content["settings"].items()
        if name in defaults and value == defaults[name]
    }
    content["settings"] = {k: v for k, v in content["settings"].items() if k not in removed}
    path.write_text(json.dumps(content))
    return removed


@pytest.fixture
def older(finished, tmp_path):
    """A copy of the finished run, its manifests without settings that are defaults."""
    run_dir = RunDir(tmp_path / "run")
    shutil.copytree(finished[0].root, run_dir.root)
    for name, chosen in finished[1].items():
        removed = make_older(run_dir.folder(name) / "manifest.json", type(chosen))
        assert len(removed) > 5
        assert name != "train-sft" or "replay_source" in removed
    return run_dir, finished[1]


@pytest.mark.parametrize("name", STAGES)
def test_a_result_without_todays_settings_is_up_to_date(older, name):
    run_dir, options = older
    outcome = STAGES[name][0](run_dir, options[name])
    assert not outcome.fresh
    recorded = {each.name for each in options_of(type(options[name])) if each.stated.recorded}
    assert recorded <= outcome.manifest.settings.keys()


def test_what_was_chosen_since_makes_another_run(older):
    run_dir, options = older
    changed = replace(options["train-sft"], replay=0.5, replay_source="self")
    with pytest.raises(LoraparError, match="other settings") as caught:
        train_sft(run_dir, changed)
    assert "`replay_source` was other, is self" in caught.value.found
    assert partition(run_dir, replace(options["partition"], only="B")).fresh


def test_a_result_that_lacks_what_an_option_adds_by_default_is_made_again(older):
    """Evaluations have measured forgetting only since there is an option for it."""
    run_dir, options = older
    path = run_dir.folder("eval/test") / "manifest.json"
    content = json.loads(path.read_text())
    assert content["settings"].pop("forgetting") is True
    path.write_text(json.dumps(content))
    assert not evaluate(run_dir, replace(options["eval/test"], forgetting=False)).fresh
    assert evaluate(run_dir, options["eval/test"]).fresh


def test_it_can_be_read(older, tmp_path):
    run_dir, _ = older
    assert "theta 0.5" in report(run_dir, tmp_path)
    assert "theta 0.5" in run_page(run_dir)
    assert read_evaluation(run_dir.folder("eval/test")).settings["limit"] == 2


def test_an_unfinished_training_resumes_to_the_same_bytes(older, finished):
    run_dir, options = older
    work = run_dir.folder("train-sft")
    shutil.rmtree(work)
    with pytest.raises(Killed):
        train_sft(run_dir, options["train-sft"], progress=kill_at(2))
    record = json.loads((work / "unfinished.json").read_text())
    assert record["settings"].pop("replay_source") == "other"
    (work / "unfinished.json").write_text(json.dumps(record))
    mark = work / "checkpoints" / "checkpoint-1" / "complete"
    content = json.loads(mark.read_text())
    earlier = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    assert content["belongs_to"] != earlier
    mark.write_text(json.dumps(content | {"belongs_to": earlier}))
    notes = train_sft(run_dir, options["train-sft"]).manifest.notes
    assert any("resumed an unfinished run from checkpoint-1" in note for note in notes)
    straight = finished[0]
    assert adapter_bytes(run_dir, "train-sft") == adapter_bytes(straight, "train-sft")
