"""What the options of a run name."""

import re

import pytest
import yaml

from lorapar_cli.errors import UsageError
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.labelling.resolve import resolve
from lorapar_cli.store.run_dir import RunDir
from tests.labelling.classify_parts import (
    ask,
    estimate_cost,
    requests_to,
    run_classify,
    running_server,
    write_questions,
    write_teachers,
)


def test_the_model_is_remembered_and_given_once(tmp_path, corpus, tiny_model_dir, monkeypatch):
    monkeypatch.chdir(tiny_model_dir.parent)
    first = run_classify(tmp_path / "run", corpus, model=f"./{tiny_model_dir.name}")
    assert first.manifest.base_model["id"] == str(tiny_model_dir)
    assert first.manifest.base_model["revision"].startswith("local:")
    assert not run_classify(tmp_path / "run", corpus).fresh
    again = run_classify(tmp_path / "run", corpus, limit=20)
    assert again.manifest.base_model == first.manifest.base_model
    assert RunDir(tmp_path / "run").base_model() == str(tiny_model_dir)


def test_a_price_that_is_unknown_is_called_so(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 5)
    with running_server() as server:
        with pytest.raises(UsageError, match="--max-cost"):
            ask(tmp_path / "run", data, server, "a", max_cost=1.0)
        assert not (tmp_path / "run").exists()
        outcome = ask(tmp_path / "run", data, server, "a")
        assert outcome.manifest.metrics["cost"] is None
        assert outcome.manifest.counts["teachers"]["a"]["cost"] is None
        teachers = [server.teacher(name) for name in "ab"]
        plan = estimate_cost(tmp_path / "run", data, teachers)
        mine = write_teachers(tmp_path / "mine.yaml", server)
        known = run_classify(tmp_path / "run", data, ["a"], teachers_file=mine, holdout=0.0)
        assert requests_to(server) == 5
    assert plan.rows["a"] | {"cost": 0} == {
        "questions": 0,
        "from_journal": 5,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cost": 0,
        "price_date": None,
    }
    # Answers from before the price was known are priced now.
    assert known.manifest.metrics["cost"] == pytest.approx(5 * 0.002)
    assert plan.rows["b"]["questions"] == 5
    assert plan.rows["b"]["cost"] is None
    assert any("no price is known for a, b" in note for note in plan.notes)


def test_how_to_give_a_price_is_said_and_works(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 2)
    for name in ("qwen", "m=org/model:7b@http://127.0.0.1:9/v1"):
        with pytest.raises(UsageError, match="--max-cost") as error:
            run_classify(tmp_path / "run", data, [name], max_cost=1.0)
        plan = estimate_cost(tmp_path / "run", data, [name])
        assert error.value.hint in plan.notes
        said = re.search(r"`(teachers: .*?)`, and", error.value.hint)[1].replace("DOLLARS", "2")
        mine = tmp_path / "mine.yaml"
        mine.write_text(said)
        named = list(yaml.safe_load(said)["teachers"])
        plan = estimate_cost(tmp_path / "run", data, named, teachers_file=mine)
        assert plan.rows[named[0]]["cost"] > 0


def test_settings_without_effect_are_recorded_as_none(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 2)

    def settings(*teachers, **more):
        options = ClassifyOptions((str(data),), teachers, student="S", **more)
        return resolve(RunDir(tmp_path / "run"), options).settings

    rules = settings("rules-cues")
    assert (rules["role_play"], rules["student"], rules["prompt_sha256"]) == (None, None, None)
    assert rules["share"] is None
    assert rules["teachers"] == {"rules-cues": "rules-cues/2"}
    endpoint = settings("a=m@http://h/v1")
    assert (endpoint["role_play"], endpoint["student"]) == (True, "S")
    assert len(endpoint["prompt_sha256"]) == 64
    assert settings(strategy="random", share=0.2)["share"] == 0.2
    assert not (tmp_path / "run").exists()
