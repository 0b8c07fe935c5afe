"""What every evaluation writes: order of samples, results, counts, notes."""

import json

import pytest

from lorapar_cli.evaluation.evaluation_run import EvaluationRun, finish_run, start_manifest
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.sample_journal import SampleJournal, describe_sample
from lorapar_cli.evaluation.tasks.task import Item, Task
from lorapar_cli.grading.sandbox.runner import Sandbox
from lorapar_cli.names import Artifact
from lorapar_cli.stage_records.evaluation import EvalRecord
from lorapar_cli.store.manifest import read_manifest
from lorapar_cli.store.records import read_jsonl
from lorapar_cli.store.resumable_folder import open_working_folder

ITEMS = [Item("a", "1?", "1"), Item("b", "2?", "2")]
INPUTS = {"data": {"path": "d", "sha256": "0"}}


def sample(name, item, draw, correct, **more):
    grade = {"extracted": "1", "correct": correct}
    return describe_sample(name, item, draw, "1", grade) | more


@pytest.fixture
def run(tmp_path):
    task = Task("data", "exact", ITEMS, INPUTS, without_reference=3)
    options = EvalOptions(match="exact", samples=2, temperature=1.0, k=(1, 2), max_new_tokens=9)
    return EvaluationRun(tmp_path / "eval", task, options, Sandbox("none"))


@pytest.fixture
def finish(run):
    """Returns a function that finishes the run with these samples."""

    def call(samples, seconds=None, truncated=None):
        names = list(dict.fromkeys(one["model"] for one in samples))
        manifest = start_manifest(run, ["samples"], {"models": names}, {"adapter": INPUTS["data"]})
        work = open_working_folder(run.folder, manifest, overwrite=True)
        journal = SampleJournal(work)
        journal.append(samples)
        return finish_run(run, work, manifest, journal, seconds, truncated)

    return call


def test_samples_are_in_the_order_of_models_items_and_draws(run, finish):
    mixed = [
        sample(name, item, draw, True)
        for draw in (1, 0)
        for item in reversed(ITEMS)
        for name in ("sft", "base")
    ]
    finish(mixed)
    written = [line for _, line in read_jsonl(run.folder / Artifact.SAMPLES)]
    assert [(line["model"], line["id"], line["draw"]) for line in written] == [
        (name, item, draw) for name in ("sft", "base") for item in "ab" for draw in (0, 1)
    ]


def test_results_and_manifest_hold_the_same_record(run, finish):
    samples = [
        sample("base", item, draw, item.id == "a", tokens=5, finished=draw == 0)
        for item in ITEMS
        for draw in range(2)
    ]
    finish(samples, {"base": 1.5}, 7)
    manifest = read_manifest(run.folder)
    record = manifest.record(EvalRecord)
    assert record.counts == {
        "cut_prompts": 7,
        "items": 2,
        "without_reference": 3,
        "tokens": {"base": 20},
    }
    results = json.loads((run.folder / Artifact.RESULTS).read_text())
    assert list(results) == [
        *("schema", "task", "match", "accuracy_of", "settings"),
        *("cut_prompts", "items", "without_reference", "tokens", "models", "pairs"),
    ]
    assert results["accuracy_of"] == "first given completion"
    assert results["settings"]["inputs"] == {"data": "0", "adapter": "0"}
    assert results["models"] == record.metrics["models"]
    assert results["models"][0]["accuracy"] == 0.5
    assert list(record.metrics) == ["seconds", "models", "pairs"]
    assert manifest.inputs == INPUTS | {"adapter": INPUTS["data"]}
    assert manifest.settings["sandbox"] == "none"


def test_notes_say_what_a_person_must_know(run, finish):
    samples = [
        sample("base", item, draw, True, finished=False) for item in ITEMS for draw in range(2)
    ]
    assert finish(samples, {"base": 1.0}, 1_000).notes == [
        "3 records have no reference answer and are excluded from every figure",
        "1,000 prompts were truncated from the left to fit the model",
        "4 of 4 completions of `base` were truncated at 9 tokens",
        "the programs of 2 items ran without a sandbox",
    ]


def test_without_models_there_are_no_seconds_and_no_truncated_prompts(run, finish):
    record = finish([sample("completions", item, 0, True) for item in ITEMS]).record(EvalRecord)
    assert list(record.counts) == ["items", "without_reference", "tokens"]
    assert list(record.metrics) == ["models", "pairs"]
    assert record.counts["tokens"] == {"completions": 0}


def test_a_damaged_record_of_an_unfinished_evaluation_is_said(run, finish):
    run.folder.mkdir(parents=True)
    (run.folder / "unfinished.json").write_text("{")
    (run.folder / Artifact.SAMPLES).write_text("half")
    finish([sample("base", item, draw, True) for item in ITEMS for draw in range(2)])
    notes = read_manifest(run.folder).notes
    assert "`unfinished.json` was damaged: the run was started over" in notes
