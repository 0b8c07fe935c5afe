"""Recipes on two processes that share the work."""

import json

from lorapar_cli.names import Stage
from lorapar_cli.store.records import read_jsonl
from tests.training.test_train_processes import COMMAND, copy, finish, start


def test_a_group_over_two_processes_is_refilled(run_dir):
    arguments = [*COMMAND["train-rl"], "--from", "init", "--max-steps", "2", "--refill"]
    arguments[arguments.index("--rewards") + 1] = "tests.faults.rewards.half"
    arguments[arguments.index("--per-device-batch-size") + 1] = "2"
    finish(start([*arguments, "--refill-limit", "9"], run_dir, processes=2))
    folder = run_dir.folder(Stage.TRAIN_RL)
    written = [line for _, line in read_jsonl(folder / "completions.jsonl")]
    used = [line for line in written if "skipped" not in line]
    assert len(used) == 2 * 4
    for first in (0, 4):
        group = used[first : first + 4]
        assert len({line["id"] for line in group}) == 1
        assert len({json.dumps(line["rewards"]) for line in group}) > 1
    cost = run_dir.manifest(Stage.TRAIN_RL).metrics["refill"]
    assert cost["completions"] == len(written) - len(used)
    assert run_dir.manifest(Stage.TRAIN_RL).counts["frozen_moved"] == 0


def test_two_processes_sample_what_one_does(run_dir, tmp_path):
    single = copy(run_dir, tmp_path / "single")
    arguments = [*COMMAND["train-sft"], "--max-steps", "2", "--replay", "0.5"]
    arguments += ["--replay-source", "self", "--sample-batch-size", "4"]
    finish(start(arguments, single))
    finish(start(arguments, run_dir, processes=2))
    one, two = (
        (run.folder(Stage.TRAIN_SFT) / "replay.jsonl").read_bytes() for run in (single, run_dir)
    )
    assert one == two
    figures = run_dir.manifest(Stage.TRAIN_SFT).metrics["replay"]
    assert figures["asked"] == 12
