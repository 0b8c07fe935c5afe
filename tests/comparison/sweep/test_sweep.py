"""`sweep` on a tiny model: shared stages, resuming after a kill, the same table twice."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from lorapar_cli import __version__
from lorapar_cli.comparison.sweep import run_step as steps_run
from lorapar_cli.comparison.sweep.layout import forgetting_lines, table_lines
from lorapar_cli.comparison.sweep.options import SweepOptions
from lorapar_cli.comparison.sweep.sweep import describe, open_plan, require_success, sweep
from lorapar_cli.errors import LoraparError, UsageError
from tests.comparison.earlier_version import rename, without
from tests.comparison.small_data import write_products
from tests.json_schema import unfit

GRID = """
title: A small grid
classify: {{data: {data}, holdout: 0.2}}
splitter: labels
score: {{r: 4, lora_alpha: 8, samples: 4, dtype: float32}}
train-sft: {{learning_rate: 0.01, per_device_batch_size: 4, gradient_accumulation: 1, max_steps: 2}}
eval: {{max_new_tokens: 4, neutral: {neutral}}}
order: sft
grid:
  theta: [0.3, 0.9]
  alpha: [0, 1]
"""


@pytest.fixture
def grid(tmp_path, tiny_model_dir):
    """A function from the text of a grid, with `{data}` and `{neutral}`, to its options."""
    data = write_products(tmp_path / "data.jsonl", 24, 2)
    # Short, for the sake of time.
    neutral = tmp_path / "neutral.txt"
    neutral.write_text("The sun rose over the hills. " * 4)

    def options(text: str = GRID, **changes):
        path = tmp_path / "grid.yaml"
        path.write_text(text.format(data=data, neutral=neutral))
        stated = {"grid": path, "out": tmp_path / "out", "model": str(tiny_model_dir)}
        return SweepOptions(**(stated | changes))

    return options


@pytest.fixture
def ran(monkeypatch):
    """Collects the kinds of the stages that really ran."""
    seen = []

    def watch(name, kind):
        original = getattr(steps_run, name)

        def watched(run_dir, options, *arguments):
            seen.append(kind)
            return original(run_dir, options, *arguments)

        monkeypatch.setattr(steps_run, name, watched)

    for name in ("classify", "score", "partition", "train_sft", "train_rl", "train_peft"):
        watch(name, name)
    watch("evaluate", "eval")
    return seen


SMALL = GRID.replace("theta: [0.3, 0.9]\n  alpha: [0, 1]", "theta: [0.3, 0.9]")


def without_times(result):
    found = json.loads(json.dumps(result))
    for row in found["cells"]:
        for step in row["steps"]:
            step.pop("seconds", None)
    return found


def test_cells_share_what_has_the_same_settings(grid, ran, tmp_path):
    result = sweep(open_plan(grid()))
    # Records are labelled and scored once, and the base model is evaluated once.
    counts = {kind: ran.count(kind) for kind in ran}
    assert counts == {"classify": 1, "score": 1, "partition": 4, "train_sft": 4, "eval": 5}
    assert [row["labels"] for row in result["cells"]] == [
        {"theta": theta, "alpha": alpha} for theta in ("0.3", "0.9") for alpha in ("0", "1")
    ]
    active = [row["figures"]["active"] for row in result["cells"]]
    assert active[0] < active[1] < active[3]
    assert active[0] < active[2] < active[3]
    for row in result["cells"]:
        assert row["evaluations"]["first"]["n"] == 5
        assert set(row["evaluations"]["first"]["by_system"]) <= {"system1", "system2"}
        assert row["steps"][0]["cells"] == 4
    folder = tmp_path / "out" / "grid"
    written = json.loads((folder / "results.json").read_text())
    assert written == json.loads(json.dumps(result))
    assert unfit("sweep", written) == []
    page = (folder / "sweep.md").read_text()
    assert page.startswith("# A small grid\n\n| theta | alpha | accuracy % after the first stage |")
    # Accuracies, and below them what was forgotten.
    assert page.count("\n| 0.") == 8
    with open(folder / "sweep.csv") as file:
        lines = list(csv.DictReader(file))
    assert [(line["theta"], line["alpha"], line["seed"]) for line in lines] == [
        ("0.3", "0", "0"),
        ("0.3", "1", "0"),
        ("0.9", "0", "0"),
        ("0.9", "1", "0"),
    ]
    assert float(lines[0]["active"]) == active[0]


def test_each_cell_says_what_it_forgot(grid, capsys):
    plan = open_plan(grid(SMALL))
    result = sweep(plan)
    for row in result["cells"]:
        base, first = (row["evaluations"][name]["forgetting"] for name in ("base", "first"))
        found = row["figures"]
        assert found["kl"] == pytest.approx(sum(first["kl"].values()) / len(first["kl"]))
        assert found["kl"] > 0
        assert found["neutral"] == first["neutral_loss"] - base["neutral_loss"] != 0
        for system, loss in first["loss"].items():
            assert found[f"loss-{system}"] == loss - base["loss"][system]
        # The evaluation has measured it: the training need not.
        trained = next(step for step in row["steps"] if step["folder"].startswith("train-sft"))
        manifest = json.loads(
            (plan.options.out / "stages" / trained["folder"] / "manifest.json").read_text()
        )
        assert "forgetting" not in manifest["metrics"]
    heads, rows = forgetting_lines(result, plan.file.table)
    assert heads[:3] == ["theta", "KL from base", "neutral loss"]
    assert [row[2] for row in rows] == [
        f"{row['figures']['neutral']:+.4f}" for row in result["cells"]
    ]
    # A table of one's own with all of it has no second one beside it; without measuring there is none.
    asked = SMALL + "table: {{figures: [first, kl, neutral, loss-system1, loss-system2]}}\n"
    plan = open_plan(grid(asked))
    again = sweep(plan)
    assert forgetting_lines(again, plan.file.table) is None
    assert table_lines(again, plan.file.table)[0][2:4] == ["KL from base", "neutral loss"]
    plan = open_plan(grid(SMALL.replace("max_new_tokens: 4,", "forgetting: false,")))
    assert forgetting_lines(sweep(plan), plan.file.table) is None


def test_the_same_command_runs_nothing_and_more_cells_run_what_they_lack(grid, ran):
    first = sweep(open_plan(grid(SMALL)))
    ran.clear()
    assert sweep(open_plan(grid(SMALL))) == first
    assert ran == []
    sweep(open_plan(grid(SMALL.replace("[0.3, 0.9]", "[0.3, 0.5]"))))
    assert ran == ["partition", "train_sft", "eval"]


def test_from_nothing_the_same_figures(grid, tmp_path):
    first = sweep(open_plan(grid(SMALL, seeds=2)))
    shutil.rmtree(tmp_path / "out")
    assert without_times(sweep(open_plan(grid(SMALL, seeds=2)))) == without_times(first)
    # Seeds are independent: adapters differ, and with them the sets.
    by_seed = {row["seed"]: row["figures"]["jaccard"] for row in first["cells"]}
    assert len(set(by_seed.values())) == 2
    assert first["table"][0]["seeds"] == [0, 1]
    assert set(first["table"][0]["deviation"]) == set(first["table"][0]["mean"])


def command(options, *more):
    return [
        *(sys.executable, "-m", "lorapar_cli", "sweep", str(options.grid)),
        *("--out", str(options.out), "--model", options.model, *more),
    ]


def test_a_kill_repeats_no_finished_stage(grid, ran):
    options = grid()
    process = subprocess.Popen(
        command(options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    pattern = "stages/train-sft-*/manifest.json"
    while process.poll() is None and not list(options.out.glob(pattern)):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = {path: path.read_bytes() for path in options.out.glob("stages/*/manifest.json")}
    trained = [path for path in finished if path.parent.name.startswith("train-sft")]
    assert 1 <= len(trained) < 4
    found = sweep(open_plan(options))
    assert ran.count("train_sft") == 4 - len(trained)
    assert ran.count("classify") == ran.count("score") == 0
    assert {path: path.read_bytes() for path in finished} == finished
    shutil.rmtree(options.out)
    assert without_times(sweep(open_plan(options))) == without_times(found)


def test_an_option_that_is_new_runs_nothing_again(grid, ran, tmp_path):
    first = sweep(open_plan(grid(SMALL)))
    ran.clear()
    rename(tmp_path / "out" / "stages", without("packing", place="settings"), "score-")
    again = sweep(open_plan(grid(SMALL)))
    assert ran == []
    assert again["table"] == first["table"]
    # Steps that are added read the old ones.
    sweep(open_plan(grid(GRID)))
    assert {kind: ran.count(kind) for kind in ran} == {"partition": 2, "train_sft": 2, "eval": 2}


def test_stages_of_two_versions_are_told(grid, tmp_path):
    plan = open_plan(grid(SMALL))
    assert sweep(plan)["notes"] == []
    score = next((tmp_path / "out" / "stages").glob("score-*/manifest.json"))
    score.write_text(
        score.read_text().replace(
            f'"lorapar_version": "{__version__}"', '"lorapar_version": "0.0.1"'
        )
    )
    (note,) = sweep(plan)["notes"]
    assert note.startswith(f"stages of this table were run by lorapar 0.0.1, {__version__}: ")
    written = json.loads((plan.folder / "results.json").read_text())
    assert written["notes"] == [note]
    assert note[1:] in (plan.folder / "sweep.md").read_text()


def test_a_default_that_is_another_now_runs_again(grid, ran, tmp_path):
    sweep(open_plan(grid(SMALL)))
    before = list(ran)
    rename(
        tmp_path / "out" / "stages",
        lambda recorded: recorded["settings"].update(max_length=1024),
        "score-",
    )
    sweep(open_plan(grid(SMALL)))
    # All but the labels and the base model's evaluation.
    assert len(ran) == 2 * len(before) - 2


def test_two_processes_give_the_table_of_one(grid, tmp_path):
    alone = sweep(open_plan(grid(SMALL)))
    shutil.rmtree(tmp_path / "out")
    assert without_times(sweep(open_plan(grid(SMALL, jobs=2)))) == without_times(alone)


def test_a_dry_run_lists_cells_and_writes_nothing(grid, tmp_path):
    rows = describe(open_plan(grid()))
    assert rows[0][1:] == ("classify, score, partition, train-sft, eval, eval", "")
    assert rows[1][1:] == ("partition, train-sft, eval", "classify, score, eval")
    assert not (tmp_path / "out").exists()


def test_a_cell_that_fails_leaves_the_others(grid):
    text = GRID.replace("theta: [0.3, 0.9]\n  alpha: [0, 1]", "train-sft.max-length: [512, 2]")
    result = sweep(open_plan(grid(text)))
    good, bad = result["cells"]
    assert "failed" not in good
    assert "longer than 2 tokens" in bad["failed"]
    assert "first" in good["figures"]
    assert set(bad["evaluations"]) == {"base"}
    with pytest.raises(LoraparError, match="1 of 2 cells failed"):
        require_success(result)


def test_time_that_suffices_for_one_cell(grid, ran):
    found = sweep(open_plan(grid(budget="1s")))
    # The first cell is always run, and tells how long the others would take.
    assert len(found["cells"]) < 4
    assert len(found["cells"]) + len(found["left_out"]) == 4
    ran.clear()
    assert sweep(open_plan(grid(budget="1s"))) == found
    assert ran == []


def test_options_that_contradict_each_other(grid):
    with pytest.raises(UsageError, match="omit `--model`"):
        open_plan(grid(embedded=True))
