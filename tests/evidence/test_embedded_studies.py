"""The studies on the embedded model at sizes of seconds, by the engine that measures them in full."""

import json

import pytest

from evidence import authors, embedded, replay
from evidence.curve import curve_rows, random_importance, shares
from evidence.page.results_files import read_results
from evidence.page.write import page_of
from evidence.runs import embedded_run
from evidence.studies import run_study
from lorapar_cli.names import Stage, System
from tests.evidence.made_up import few_records

RL = {
    "max_steps": 1,
    "per_device_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 6,
}
TINY = {"per_system": 24, "samples": 4, "seeds": 1, "max_rates": 1, "max_new_tokens": 4}


def measured_on(tmp_path):
    (tmp_path / "neutral.txt").write_text("The sun rose over the hills. " * 5)
    return {
        "data": few_records(tmp_path / "measured.jsonl"),
        "neutral": tmp_path / "neutral.txt",
    }


def measure(made, tmp_path, only):
    said = []
    path = run_study(made, tmp_path / "work", tmp_path / "out", said.append, only)
    page = page_of(read_results(tmp_path / "out"))
    assert f"## {made.title}\n" in page
    assert f"`{made.command}`; seed" in page
    return json.loads(path.read_text())


def test_rule_and_budget(tmp_path, monkeypatch):
    size = embedded.Size(
        **TINY,
        **measured_on(tmp_path),
        sft={"max_steps": 1},
        built_in=("paper", "random"),
        own={"snr": {"score": {"rule": "snr"}}},
    )
    made = embedded.embedded_study("sft", tmp_path / "work", size, 1, lambda _: None)
    assert [unit.name for unit in made.units] == ["0.05", "0.5", "2", "7", "20", "36"]
    found = measure(made, tmp_path, ["7"])
    result = found["units"]["7"]["result"]
    assert [row["cell"] for row in result["cells"]] == ["paper", "random", "snr"]
    # Seven per cent of the embedded adapter's 61,440 elements, whatever chose them.
    assert {row["active"] for row in result["cells"]} == {4300}
    assert {(row["cell"], row["against"]) for row in result["differences"]} == {
        ("paper", "random"),
        ("snr", "random"),
        ("snr", "paper"),
    }
    assert "7" not in found["unfinished"]

    def never(*_args, **_keywords):
        raise AssertionError("a finished unit was measured again")

    monkeypatch.setattr(embedded, "run_comparison", never)
    assert measure(made, tmp_path, ["7"]) == found


def test_replay_and_everything(tmp_path):
    size = replay.Size(
        **TINY,
        **measured_on(tmp_path),
        sft_steps=1,
        rl=RL,
        splitters=("truth",),
        replays=("replay-30", "self-30"),
    )
    made = replay.replay_study(tmp_path / "work", size, 1, lambda _: None)
    result = measure(made, tmp_path, ["truth"])["units"]["truth"]["result"]
    shown = {(row["cell"], row["stage"]) for row in result["cells"]}
    cells = ("paper", "replay-30", "self-30")
    both = {(cell, stage) for cell in cells for stage in ("train-sft", "train-rl")}
    assert shown == both | {("everything", "train-sft")}
    pairs = {(row["cell"], row["against"]) for row in result["differences"]}
    assert pairs == {
        *((cell, "paper") for cell in cells[1:]),
        *((cell, "everything") for cell in cells),
    }


def test_recipes_against_each_other(tmp_path):
    size = replay.Size(
        **TINY,
        **measured_on(tmp_path),
        sft_steps=1,
        rl=RL,
        recipes=("full-replay",),
        built_in=("paper", "random", "full"),
    )
    made = replay.recipes_study(tmp_path / "work", size, 1, lambda _: None)
    found = measure(made, tmp_path, [])
    result = found["units"]["recipes"]["result"]
    pairs = {(row["cell"], row["against"]) for row in result["differences"]}
    assert pairs == {("full-replay", against) for against in ("paper", "random", "full")}
    assert result["recipes"] == {"full-replay": replay.RECIPES["full-replay"]}
    assert found["unfinished"] == []


def test_a_fault_against_the_right_training(tmp_path):
    size = authors.Size(**TINY, **measured_on(tmp_path), sft_steps=2, rl=RL)
    made = authors.authors_study(tmp_path / "work", size, lambda _: None)
    result = measure(made, tmp_path, ["frozen-decay"])["units"]["frozen-decay"]["result"]
    # Every frozen element decays; none moves in the right training, or it would have stopped.
    assert result["frozen_share"] == 1.0
    assert 0 < result["frozen_relative"] < 0.1
    assert {row["cell"] for row in result["cells"]} == {authors.FAITHFUL, "frozen-decay"}
    assert {row["stage"] for row in result["differences"]} == {"train-sft", "train-rl"}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    run = embedded_run(tmp_path_factory.mktemp("curve"), "truth", per_system=8, samples=4)
    return run.folder(Stage.SCORE)


def test_shares_against_a_naive_count():
    values = [5.0, 1.0, 3.0, 1.0]
    # Sorted 5, 3, 1, 1 of 10: theta 0.5 is reached by one element, 0.8 by two, 0.9 by three.
    assert dict(zip((0.1, 0.5, 0.8, 0.9), [25, 25, 50, 75], strict=True)) == {
        theta: share
        for theta, share in zip(
            (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), shares(as_array(values)), strict=True
        )
        if theta in (0.1, 0.5, 0.8, 0.9)
    }


def as_array(values):
    import numpy as np

    return np.array(values, np.float32)


def test_random_gradients_are_the_formula_on_noise():
    import numpy as np

    values = {"a": as_array([[1.0, 0.0], [2.0, -1.0]]), "b": as_array([[0.0]])}
    first = random_importance(values, {"a": 1e-3, "b": 1e-3}, 8, 0)
    again = random_importance(values, {"a": 1e-3, "b": 1e-3}, 8, 0)
    assert np.array_equal(first, again)
    # Where the value is zero so is the importance, and only there.
    assert (first == 0).tolist() == [False, True, False, False, True]


def test_curve_of_a_scored_adapter(scored):
    rows = curve_rows(scored, 4)
    assert [row["gradients"] for row in rows][:2] == [system.value for system in System]
    for row in rows:
        assert row["shares"] == sorted(row["shares"])
        assert 0 < row["shares"][0] < row["shares"][-1] < 90
