"""The studies on the real model, with the embedded model and made-up data in their places."""

import json

import pytest

from evidence.page.results_files import read_results
from evidence.page.write import page_of
from evidence.real import data, noise, training
from evidence.real.model import require_digest
from evidence.studies import run_study
from lorapar_cli.embedded import MODEL_DIR
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System
from tests.evidence.made_up import write_data
from tests.shared_data import SHARED_DATA


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def measure(made, tmp_path, only):
    path = run_study(made, tmp_path / "work", tmp_path / "out", lambda _: None, only)
    assert f"## {made.title}\n" in page_of(read_results(tmp_path / "out"))
    return {name: unit["result"] for name, unit in json.loads(path.read_text())["units"].items()}


def test_noise_of_splitters_and_controls(folder, tmp_path):
    size = noise.Size(samples=(4,), control_samples=(4,), mixed=16)
    made = noise.noise_study(tmp_path / "work", MODEL_DIR, folder, size, lambda _: None)
    only = ["truth-4", "rules-4", "same-kind-other-form-4", "curve"]
    found = measure(made, tmp_path, only)
    assert found["truth-4"]["sizes"] == {"system1": 8, "system2": 8}
    assert found["truth-4"]["as_source"] == 1
    assert found["truth-4"]["samples"] == 4
    assert found["same-kind-other-form-4"]["control"] == "same kind, other form"
    assert len(found["curve"]["rows"]) == 4


def test_a_splitter_that_leaves_a_system_empty_is_a_result(folder, tmp_path, monkeypatch):
    rows = [row | {"label": "system1"} for row in data.read_rows(folder, "boolq/train.json")[:8]]
    monkeypatch.setattr(noise, "mixed_rows", lambda *_: rows)
    size = noise.Size(samples=(4,), control_samples=(4,), mixed=8)
    made = noise.noise_study(tmp_path / "work", MODEL_DIR, folder, size, lambda _: None)
    assert measure(made, tmp_path, ["truth-4"])["truth-4"]["verdict"] == "no split"


def test_training_and_choices(folder, tmp_path):
    size = training.Size(
        train=16,
        samples=4,
        seeds=1,
        max_rates=1,
        steps=1,
        batch=2,
        measured=(2, 2, 2),
        choices=3,
        neutral=200,
        max_new_tokens=4,
        movement_steps=0,
        built_in=("paper", "random"),
        budgets=("36%",),
    )
    made = training.training_study(tmp_path / "work", MODEL_DIR, folder, size, 1, lambda _: None)
    found = measure(made, tmp_path, ["36"])["36"]
    assert found["choices"]["questions"] == 3
    assert set(found["choices"]["accuracy"]) == {"paper", "random"}
    assert [row["against"] for row in found["choices"]["differences"]] == ["random"]
    assert found["measured"] == {"system1": 4, "system2": 2}


def test_forms_of_answers(folder):
    (arc,) = [
        row
        for row in data.read_rows(folder, "arc/challenge_train.json")
        if row["id"].endswith("/3")
    ]
    assert data.options_of_question(arc["prompt"]) == ["number 3", "number 4"]
    worded = data.in_words(arc)
    assert (worded["completion"], worded["reference_answer"]) == ("number 4", "number 4")
    assert "Answer format" not in worded["prompt"]
    problem = data.read_rows(folder, "gsm8k/train.jsonl")[0]
    assert "<<" not in problem["completion"]
    short = data.in_a_sentence(problem)
    assert short["completion"] == f"the correct answer is {problem['reference_answer']}"


@pytest.mark.parametrize("control", noise.CONTROLS)
def test_controls_share_no_question(folder, control):
    rows = noise.control_rows(folder, control, 6)
    prompts = {system: set() for system in System}
    for row in rows:
        prompts[System(row["label"])].add(row["prompt"].partition("\n\nAnswer format")[0])
    assert [len(found) for found in prompts.values()] == [6, 6]
    assert not prompts[System.SYSTEM1] & prompts[System.SYSTEM2]
    assert len({row["id"] for row in rows}) == 12


def test_records_to_measure_on_are_not_trained_on(folder):
    size = training.Size(train=16, measured=(2, 2, 2))
    trained = {row["prompt"] for row in noise.mixed_rows(folder, size.train)}
    assert not trained & {row["prompt"] for row in training.measured_rows(folder, size)}


def test_data_that_is_not_there(folder, tmp_path):
    with pytest.raises(LoraparError, match="needs public data"):
        data.require_data(None)
    with pytest.raises(LoraparError, match="lacks `arc/challenge_train"):
        data.require_data(tmp_path)
    assert data.require_data(folder) == folder


def test_another_file_than_the_model_is_refused(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"x")
    with pytest.raises(LoraparError, match="is not the file that the study is about"):
        require_digest(tmp_path / "model.gguf", "0" * 64)


@pytest.mark.shared_data("arc")
def test_every_question_of_the_public_files_has_its_answer_among_its_options():
    for name in ("arc/challenge_train.json", "arc/challenge_test.json"):
        for row in data.read_rows(SHARED_DATA, name):
            assert data.in_words(row)["completion"]
