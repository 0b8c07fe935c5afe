"""Watched trainings in two processes, and under engines that leave no process a whole model."""

import json

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.events import silent
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.names import Stage
from lorapar_cli.training.watching.parts import StageRecords
from lorapar_cli.training.watching.plan import plan_watch
from lorapar_cli.training.watching.watch import open_watch
from tests.training.test_train_processes import COMMAND, copy, finish, start
from tests.training.watching.watched_runs import sft, write_validation


def figures(run_dir):
    lines = (run_dir.folder(Stage.TRAIN_SFT) / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return {line["step"]: line for line in found if "neutral_loss" in line}


def test_two_processes_have_the_figures_and_the_choice_of_one(run_dir, tmp_path):
    """2 processes x batch 2 against 1 x 4; 12 records fill the batches of both."""
    single = copy(run_dir, tmp_path / "single")
    text = tmp_path / "neutral.txt"
    text.write_text("The sun rose over the hills. " * 60)
    arguments = [*COMMAND["train-sft"], "--max-steps", "4", "--watch", "2", "--eval-steps", "2"]
    arguments += ["--validation", write_validation(tmp_path), "--keep", "best"]
    arguments += ["--eval-max-new-tokens", "4", "--eval-batch-size", "2", "--neutral", str(text)]
    finish(start(arguments, single))
    arguments[arguments.index("--per-device-batch-size") + 1] = "2"
    finish(start(arguments, run_dir, processes=2))
    one, two = figures(single), figures(run_dir)
    assert list(one) == list(two) == [0, 2, 4]
    # Before training both have the same adapter: the same batches give the same bits.
    assert two[0] == one[0]
    for step in (2, 4):
        assert two[step] == pytest.approx(one[step], rel=1e-3)
    chosen = [r.manifest(Stage.TRAIN_SFT).metrics["validation"] for r in (single, run_dir)]
    assert chosen[0]["published_step"] == chosen[1]["published_step"]
    forgetting = [r.manifest(Stage.TRAIN_SFT).metrics["forgetting"] for r in (single, run_dir)]
    assert forgetting[0]["before"] == forgetting[1]["before"]
    assert forgetting[0]["basis"] == forgetting[1]["basis"]


@pytest.mark.parametrize("engine", [Engine.FSDP2, Engine.ZERO3])
def test_where_no_process_has_a_whole_model_nothing_is_measured_and_that_is_said(tmp_path, engine):
    records, processes = StageRecords([], [], None, None), Processes(0, 2)

    def open_with(**changes):
        notes = []
        plan = plan_watch(sft(tmp_path, **changes), None, None, records, [])
        return open_watch(plan, engine, processes, silent, notes), notes

    watch, (note,) = open_with()
    assert watch is None
    assert "forgetting was not measured" in note
    with pytest.raises(LoraparError, match=f"`--watch` cannot measure under {engine}"):
        open_with(watch=3)
