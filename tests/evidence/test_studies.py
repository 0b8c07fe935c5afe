"""Units of a study: published one by one, never repeated, with what they took."""

import json

import pytest

from evidence.studies import Study, Unit, line_of, rounded, run_study
from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Advance, Note


def study(measures, **settings):
    units = [Unit(name, {"size": 1, **settings}, measure) for name, measure in measures.items()]
    return Study("made-up", "Made up", "python -m evidence made-up", [1, 2], units, {"n": 3})


def counted(calls, name, value=0.5):
    def measure(folder):
        calls.append(name)
        (folder / "scratch").write_text("kept")
        return {"value": value}

    return measure


def run(made, tmp_path, only=()):
    path = run_study(made, tmp_path / "work", tmp_path / "out", lambda _: None, only)
    return json.loads(path.read_text())


def test_what_is_finished_is_published_at_once_and_not_repeated(tmp_path):
    calls = []

    def killed(_folder):
        seen = json.loads((tmp_path / "out" / "made-up.json").read_text())
        assert (list(seen["units"]), seen["unfinished"]) == (["first"], ["second", "third"])
        raise KeyboardInterrupt

    names = ("first", "second", "third")
    with pytest.raises(KeyboardInterrupt):
        measures = {name: counted(calls, name) for name in names} | {"second": killed}
        run(study(measures), tmp_path)
    assert calls == ["first"]
    found = run(study({name: counted(calls, name) for name in names}), tmp_path)
    assert calls == ["first", "second", "third"]
    assert found["unfinished"] == []
    assert [unit["result"] for unit in found["units"].values()] == [{"value": 0.5}] * 3
    assert found["units"]["second"]["cpu_seconds"] > 0
    assert found["units"]["first"]["made_with"]["torch"]


def test_other_settings_are_measured_anew(tmp_path):
    calls = []
    run(study({"one": counted(calls, "one")}), tmp_path)
    assert run(study({"one": counted(calls, "two", 0.25)}, size=2), tmp_path)["units"]["one"][
        "result"
    ] == {"value": 0.25}
    assert calls == ["one", "two"]


def test_only_some_units(tmp_path):
    calls = []
    made = study({name: counted(calls, name) for name in ("a", "b")})
    assert run(made, tmp_path, ["b"])["unfinished"] == ["a"]
    assert calls == ["b"]
    with pytest.raises(LoraparError, match="no unit `c`"):
        run(made, tmp_path, ["c"])


def test_time_of_attempts_that_failed_is_counted(tmp_path):
    def slow_failure(_folder):
        sum(n * n for n in range(300_000))
        raise ValueError

    with pytest.raises(ValueError):
        run(study({"one": slow_failure}), tmp_path)
    spent = json.loads((tmp_path / "work" / "made-up" / "one" / "cpu.json").read_text())
    found = run(study({"one": counted([], "one")}), tmp_path)
    assert found["units"]["one"]["cpu_seconds"] >= spent["cpu_seconds"] > 0


def test_time_that_a_killed_call_took_is_not_known(tmp_path):
    """The file of the time is as it was in the middle of the call, when a kill leaves it behind."""
    file = tmp_path / "work" / "made-up" / "one" / "cpu.json"
    opened = []

    def killed(_folder):
        opened.append(file.read_bytes())
        raise ValueError

    with pytest.raises(ValueError):
        run(study({"one": killed}), tmp_path)
    file.write_bytes(opened[0])
    with pytest.raises(ValueError):
        run(study({"one": killed}), tmp_path)
    found = run(study({name: counted([], name) for name in ("one", "two")}), tmp_path)
    assert [unit.get("cpu_at_least") for unit in found["units"].values()] == [True, None]


def test_figures_have_five_digits():
    assert rounded({"a": [0.123456789, (1, True, None)], "b": 123456.7}) == {
        "a": [0.12346, [1, True, None]],
        "b": 123460.0,
    }


def test_cells_and_notes_are_lines_of_progress():
    assert line_of(Note("a note")) == "a note"
    assert (
        line_of(Advance("cell paper", 2, None, ["rate 0.1"])) == "cell paper training 2, rate 0.1"
    )
    assert line_of(Advance("measuring the base model")) is None
