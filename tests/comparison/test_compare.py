"""`compare` on a tiny run: cells, searches, both stages, processes, what is refused."""

import csv
import json
import shutil
import subprocess

import pytest

from lorapar_cli.comparison import train
from lorapar_cli.comparison.compare import compare
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Stage
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score import score
from lorapar_cli.store.disk.compared_inputs import changed_since
from lorapar_cli.training.options import SftOptions
from lorapar_cli.training.rewards.builtin import REWARDS
from tests.comparison.compare_parts import CONFIG, command, options, without_times
from tests.json_schema import unfit


def test_every_cell_of_sft(setup, tmp_path, trained):
    cells = tmp_path / "cells.yaml"
    cells.write_text("small: {partition: {theta: 0.2}}\n")
    named = ("paper", "random", "full", "rank", "movement", "bottom", str(cells))
    found = compare(setup, options(tmp_path, cells=named, seeds=1))
    rows = {row["cell"]: row for row in found["cells"]}
    assert list(rows) == ["paper", "random", "full", "rank", "movement", "bottom", "small"]
    assert len(trained) == 7
    mask = setup.manifest(Stage.PARTITION).counts
    for name in ("paper", "random", "movement", "bottom"):
        assert rows[name]["active"] == mask["active_sft"], name
    assert rows["full"]["active"] == rows["full"]["elements"] == mask["elements"]
    assert 0 < rows["small"]["active"] < rows["paper"]["active"]
    each = mask["elements"] // 4
    assert rows["rank"]["active"] == rows["rank"]["elements"]
    distances = {rank: abs(rank * each - rows["paper"]["active"]) for rank in range(1, 5)}
    assert rows["rank"]["active"] == min(distances, key=distances.get) * each
    assert f"plain LoRA of rank {rows['rank']['active'] // each}" in found["notes"][0]
    for row in rows.values():
        assert row["optimizer_bytes"] == 8 * row["active"]
        assert set(row["loss"]) == set(row["accuracy"]) == {"system1", "system2"}
        assert row["forgetting"]["kl"] > 0
        assert row["forgetting"]["neutral_loss_change"] != 0
    # What training starts from is never trained for the comparison, and both masks differ.
    assert len({mask for _, _, mask in trained}) == 6
    assert found["sentence"].startswith("In SFT ")
    folder = setup.folder("compare")
    assert json.loads((folder / "results.json").read_text()) == json.loads(
        json.dumps(found, default=str)
    )
    page = (folder / "compare.md").read_text()
    assert found["sentence"] in page
    assert page.count("| small |") == 1 + 2 * 4
    with open(folder / "compare.csv") as file:
        lines = list(csv.DictReader(file))
    assert [line["cell"] for line in lines] == list(rows)
    assert float(lines[0]["loss_system1"]) == rows["paper"]["loss"]["system1"]
    assert (folder / "plots/learning-forgetting.png").read_bytes().startswith(b"\x89PNG")


def test_what_was_read_of_the_run_tells_when_a_stage_was_made_anew(setup, tmp_path, trained):
    found = compare(setup, options(tmp_path, seeds=1))
    assert set(found["inputs"]) == {
        *("classify/system1.jsonl", "classify/system2.jsonl", "classify/heldout.jsonl"),
        *("score/importance.safetensors", "score/adapter/adapter_model.safetensors"),
    }
    assert changed_since(setup, found["inputs"]) == []
    score(setup, ScoreOptions(r=4, lora_alpha=8, dtype="float32", init="orthogonal", seed=5))
    assert changed_since(setup, found["inputs"]) == [Stage.SCORE]


def test_random_masks_are_drawn_anew_for_each_seed(setup, tmp_path, trained):
    compare(setup, options(tmp_path))
    masks = {seed: mask for _, seed, mask in trained[2:]}
    assert masks[1] != masks[2]
    assert trained[0][2] == trained[1][2]


def test_the_rate_is_searched_on_records_that_no_cell_trains_on(setup, tmp_path, trained):
    found = compare(setup, options(tmp_path, max_rates=4, seeds=1))
    paper = found["cells"][0]
    tried = dict(paper["searched"])
    assert {0.00316, 0.01, 0.0316} <= set(tried)
    assert paper["learning_rate"] == min(sorted(tried), key=tried.get)
    # The search has a seed of its own.
    assert {seed for rate, seed, _ in trained if seed != 1} == {0}
    assert len(trained) == sum(len(row["searched"]) + 1 for row in found["cells"])


def test_a_rate_that_diverges_is_no_candidate(setup, tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG.replace("0.01", "1.0e+30"))
    found = compare(setup, options(tmp_path, max_rates=3, seeds=1))
    row = found["cells"][0]
    assert row["searched"][-1] == (3.16e30, None)
    assert row["diverged"].startswith("at every learning rate: ")
    assert found["verdicts"][0]["finding"] == "not compared"
    assert (setup.folder("compare") / "compare.md").is_file()


def test_an_optimum_among_ruined_models_is_no_candidate(setup, tmp_path):
    """Of three rates that are all worse than no training, the best lies between the others."""
    (tmp_path / "config.yaml").write_text(CONFIG.replace("0.01", "10.0"))
    found = compare(setup, options(tmp_path, max_rates=6, seeds=1))
    results = [
        json.loads(path.read_text())
        for path in setup.folder("compare").glob("cells/*/search-*/result.json")
    ]
    # At the start an adapter changes nothing, whichever elements of it will be trained.
    (untrained,) = {result["untrained"] for result in results}
    random = found["cells"][1]
    tried = dict(random["searched"])
    assert tried[10.0] < min(tried[3.16], tried[31.6])
    assert tried[10.0] > untrained > tried[random["learning_rate"]]
    assert len(tried) > 3


@pytest.mark.parametrize(
    ("changes", "error", "part"),
    [
        ({"cells": ("paper",)}, UsageError, "needs two cells or more"),
        ({"stage": "rl"}, LoraparError, "no adapter to start `train-rl` from"),
        ({"data": "nothing.jsonl"}, LoraparError, "nothing.jsonl"),
        ({"data": "{}/one_system.jsonl"}, LoraparError, "too few records of system1 to measure on"),
        ({"budget": "soon"}, UsageError, "`--budget` is not a time"),
    ],
)
def test_mistakes_are_refused_before_training(setup, tmp_path, trained, changes, error, part):
    lines = (tmp_path / "measured.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"system2"' in line]
    assert len(kept) > 1
    (tmp_path / "one_system.jsonl").write_text("".join(kept))
    changes = {k: v.format(tmp_path) if k == "data" else v for k, v in changes.items()}
    seen = []
    with pytest.raises(error, match=part):
        compare(setup, options(tmp_path, **changes), progress=seen.append)
    assert trained == seen == []


def test_a_replayed_file_is_apart_from_what_is_measured_and_decides(setup, tmp_path, trained):
    cells, replayed = tmp_path / "cells.yaml", tmp_path / "more.jsonl"
    cells.write_text(f"more: {{train-sft: {{replay: 0.5, replay_source: {replayed}}}}}\n")
    named = options(tmp_path, cells=("paper", str(cells)), seeds=1)
    measured = (tmp_path / "measured.jsonl").read_text()
    replayed.write_text(measured)
    with pytest.raises(LoraparError, match="replayed records of `train-sft` in cell `more` are"):
        compare(setup, named)
    validation = setup.folder("compare").glob("records/*/validation.jsonl")
    replayed.write_text(next(validation).read_text())
    with pytest.raises(LoraparError, match="replayed records of `train-sft` in cell `more` are"):
        compare(setup, named)
    replayed.unlink()
    with pytest.raises(LoraparError, match="no such file"):
        compare(setup, named)
    assert trained == []
    replayed.write_text('{"prompt": "Where is the fox?", "completion": "#### tree"}\n')
    compare(setup, named)
    assert len(trained) == 2
    compare(setup, named)
    assert len(trained) == 2
    replayed.write_text('{"prompt": "Where is the elk?", "completion": "#### tree"}\n')
    compare(setup, named)
    assert len(trained) == 3


def test_a_cell_does_not_choose_its_step_by_what_it_is_measured_on(setup, tmp_path, trained):
    cells = tmp_path / "cells.yaml"
    validation = f"eval_steps: 1, keep: best, validation: {tmp_path / 'measured.jsonl'}"
    cells.write_text(f"best: {{train-sft: {{{validation}}}}}\n")
    with pytest.raises(LoraparError, match="validated records of `train-sft` in cell `best` are"):
        compare(setup, options(tmp_path, cells=("paper", str(cells)), seeds=1))
    assert trained == []


def test_a_cell_that_fails_is_named(setup, tmp_path):
    cells = tmp_path / "cells.yaml"
    cells.write_text("short: {train-sft: {max_length: 3}}\n")
    with pytest.raises(LoraparError, match="`train-sft` of cell `short` failed: every record"):
        compare(setup, options(tmp_path, cells=("paper", str(cells)), seeds=1))


def test_a_run_that_is_not_scored_is_refused(setup, tmp_path):
    shutil.rmtree(setup.folder(Stage.SCORE))
    with pytest.raises(LoraparError, match="no scored adapter"):
        compare(setup, options(tmp_path))


RL_CONFIG = (
    CONFIG
    + """
train-rl: {learning_rate: 0.01, per_device_batch_size: 4, gradient_accumulation: 2, max_steps: 2,
  num_generations: 4, max_completion_length: 8, rewards: length}
"""
)


@pytest.fixture
def with_rl(setup, tmp_path, monkeypatch):
    """Settings with a reward that differs between the completions of a random model."""
    monkeypatch.setitem(REWARDS, "length", lambda texts, _: [len(set(t)) / 10 for t in texts])
    (tmp_path / "config.yaml").write_text(RL_CONFIG)
    return setup


def test_both_stages_go_on_from_the_cells_own_sft(with_rl, tmp_path):
    found = compare(
        with_rl, options(tmp_path, stage="both", seeds=1, cells=("paper", "random", "rank"))
    )
    rows = [(row["stage"], row["cell"]) for row in found["cells"]]
    assert rows == [(s, c) for s in ("train-sft", "train-rl") for c in ("paper", "random", "rank")]
    folders = with_rl.folder("compare")
    for cell, folder in found["folders"]["train-rl"].items():
        (manifest,) = (folders / folder).glob("rate-*/trained/manifest.json")
        (sft,) = (folders / found["folders"]["train-sft"][cell]).glob("rate-*/trained/adapter")
        started = json.loads(manifest.read_text())["inputs"]["adapter"]["path"]
        assert started == str(sft / "adapter_model.safetensors")
    assert [verdict["measure"] for verdict in found["verdicts"]] == ["loss", "accuracy"]
    assert found["verdicts"][1]["systems"] == ["system2"]
    assert "; in RL " in found["sentence"]


def test_a_cell_that_learns_nothing_leaves_the_others(with_rl, tmp_path, monkeypatch):
    monkeypatch.setitem(REWARDS, "integer", lambda texts, _: [1.0] * len(texts))
    train.train_sft(with_rl, SftOptions(learning_rate=0.01, max_steps=2, save_steps=10))
    cells = tmp_path / "cells.yaml"
    cells.write_text("flat: {train-rl: {rewards: integer}}\n")
    named = options(tmp_path, stage="rl", seeds=1, max_rates=2, cells=("random", str(cells)))
    rows = {row["cell"]: row for row in compare(with_rl, named)["cells"]}
    assert "accuracy" in rows["random"]
    flat = rows["flat"]["diverged"]
    assert flat.startswith(
        "at every learning rate: training learnt nothing: no step had a gradient"
    )


def test_a_search_that_nothing_could_judge_is_refused(with_rl, tmp_path, monkeypatch, trained):
    train.train_sft(with_rl, SftOptions(learning_rate=0.01, max_steps=2, save_steps=10))
    trained.clear()
    monkeypatch.setattr("lorapar_cli.store.records.Record.accepted_by", lambda *_: [])
    with pytest.raises(LoraparError, match="rate of `train-rl` cannot be searched") as caught:
        compare(with_rl, options(tmp_path, stage="rl", max_rates=3))
    assert "validation record of system2" in caught.value.found
    assert trained == []


def test_rl_alone_starts_from_the_runs_sft(with_rl, tmp_path):
    train.train_sft(with_rl, SftOptions(learning_rate=0.01, max_steps=2, save_steps=10))
    found = compare(with_rl, options(tmp_path, stage="rl", seeds=1, cells=("random", "rank")))
    random, rank = found["cells"]
    mask = with_rl.manifest(Stage.PARTITION).counts
    assert random["active"] == mask["active_rl"]
    each = mask["elements"] // 4
    # Ranks are added: those of the adapter after SFT stay frozen.
    assert rank["active"] % each == 0
    assert rank["elements"] == mask["elements"] + rank["active"]
    for folder in found["folders"]["train-rl"].values():
        (manifest,) = (with_rl.folder("compare") / folder).glob("rate-*/trained/manifest.json")
        counts = json.loads(manifest.read_text())["counts"]
        assert counts["frozen_moved"] == 0


def test_processes_side_by_side_give_the_same_table(setup, tmp_path, trained):
    alone = compare(setup, options(tmp_path, seeds=1))
    assert len(trained) == 2
    shutil.rmtree(setup.folder("compare") / "cells")
    together = compare(setup, options(tmp_path, seeds=1, jobs=2))
    assert len(trained) == 2
    assert without_times(together) | {"settings": 0} == without_times(alone) | {"settings": 0}


def test_a_budget_leaves_out_what_does_not_fit_and_decides_once(setup, tmp_path, trained):
    named = ("paper", "random", "full")
    timed = options(tmp_path, cells=named, budget="1s")
    found = compare(setup, timed)
    assert [row["cell"] for row in found["cells"]] == ["paper", "random"]
    assert [row["seeds"] for row in found["cells"]] == [[1], [1]]
    assert found["left_out"] == ["1 of 2 seeds", "cells `full`"]
    assert (
        "Left out to fit into `--budget`: 1 of 2 seeds."
        in (setup.folder("compare") / "compare.md").read_text()
    )
    count = len(trained)
    assert compare(setup, timed) == found
    assert len(trained) == count
    plenty = compare(setup, options(tmp_path, cells=named, budget="9h"))
    assert plenty["left_out"] == []
    assert [row["cell"] for row in plenty["cells"]] == list(named)


def test_the_command_prints_tables_of_80_columns_and_the_sentence(setup, tmp_path):
    done = subprocess.run(command(setup, tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cell paper | train-sft seed 1" in done.stderr
    tables, _, sentence = done.stdout.partition("In SFT ")
    assert sentence.strip().endswith(".")
    assert max(len(line.rstrip()) for line in tables.splitlines()) <= 80
    assert "base model" in tables
    again = subprocess.run(
        [*command(setup, tmp_path), "--json"], capture_output=True, text=True, check=True
    )
    result = json.loads(again.stdout)
    assert result["sentence"].startswith("In SFT ")
    assert unfit("compare", result) == []
