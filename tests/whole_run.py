"""A run directory with every stage really finished, on a tiny model: for what reads whole runs."""

from dataclasses import replace

import pytest

from lorapar_cli import (
    ClassifyOptions,
    EvalOptions,
    PartitionOptions,
    RlOptions,
    RunDir,
    ScoreOptions,
    SftOptions,
    classify,
    evaluate,
    partition,
    score,
    train_rl,
    train_sft,
)
from lorapar_cli.embedded.corpus import training_records
from lorapar_cli.training.rewards.builtin import REWARDS
from tests.labelling.classify_parts import write_rows

STAGES = {
    "classify": (classify, ClassifyOptions(data=("",), teachers=("rules-operations",))),
    "score": (score, ScoreOptions(r=2, lora_alpha=4, dtype="float32")),
    "partition": (partition, PartitionOptions(theta=0.5)),
    "train-sft": (
        train_sft,
        SftOptions(max_steps=2, per_device_batch_size=2, save_steps=1, forgetting=False),
    ),
    "train-rl": (
        train_rl,
        RlOptions(
            **{"max_steps": 1, "per_device_batch_size": 4, "num_generations": 4},
            **{"max_completion_length": 4, "forgetting": False, "rewards": "length"},
        ),
    ),
    "eval/test": (evaluate, EvalOptions(max_new_tokens=4, name="test", limit=2)),
}


def add_reward_with_spread(patch: pytest.MonkeyPatch) -> None:
    """Adds a reward `length` that differs between the completions of a random model."""
    patch.setitem(REWARDS, "length", lambda texts, _: [len(set(t)) / 10 for t in texts])


def make_whole_run(root, model) -> tuple[RunDir, dict]:
    """Returns a run directory with every stage finished, and the options of each."""
    data = write_rows(root / "data.jsonl", training_records(per_system=20))
    options = {name: chosen for name, (_, chosen) in STAGES.items()}
    options["classify"] = replace(options["classify"], data=(str(data),), model=str(model))
    run_dir = RunDir(root / "run")
    for name, (stage, _) in STAGES.items():
        given = [key for key, value in vars(options[name]).items() if value not in (None, ())]
        assert stage(run_dir, options[name], given=given).fresh
    return run_dir, options
