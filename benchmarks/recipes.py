"""Processor time of what may be measured, searched or sampled around a training, on the embedded model.

Each stage runs plainly and with one option, in turns within one process, from the same score and
partition. Processor time, so that other work on the machine counts for little.
"""

import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lorapar_cli.embedded import TEST_SET
from lorapar_cli.embedded.corpus import training_records
from lorapar_cli.evaluation.evaluate import evaluate
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.labelling.classify import classify
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.names import Stage
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score import score
from lorapar_cli.store.records import write_jsonl
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft

ROUNDS = 3
_RULES = ("rules-operations", "rules-cues", "rules-shape")
_SFT = {
    **{"max_steps": 40, "per_device_batch_size": 16, "gradient_accumulation": 1},
    **{"learning_rate": 2e-3, "lora_dropout": 0.0, "forgetting": False},
}
_RL = {
    **{"max_steps": 10, "per_device_batch_size": 32, "gradient_accumulation": 1},
    **{"num_generations": 8, "max_completion_length": 32, "learning_rate": 1e-3},
    **{"rewards": "answer=1,format=0.1", "forgetting": False},
}
_REPLAY = {"replay": 0.2}
_VALIDATION = {"validation": "0.05", "eval_max_new_tokens": 32}
# Name -> options on top of the plain ones; a stage, what it is held against, what it is.
SFT = {
    "--forgetting": {"forgetting": True},
    "--forgetting --watch 10": {"forgetting": True, "watch": 10},
    "--eval-steps 10 --validation 0.05": {"eval_steps": 10, **_VALIDATION},
    "--eval-steps 10 --validation 0.05 --keep best": {
        **{"eval_steps": 10, "keep": "best"},
        **_VALIDATION,
    },
    "--find-lr": {"find_lr": True},
    "--replay 0.2": _REPLAY,
    "--replay 0.2 --replay-source self": {**_REPLAY, "replay_source": "self"},
}
RL = {
    "--forgetting": {"forgetting": True},
    "--refill": {"refill": True},
    "--min-pass .1 --max-pass .9 --pass-samples 4, 200 prompts": {
        **{"min_pass": 0.1, "max_pass": 0.9, "pass_samples": 4},
    },
}


def prepare(root: Path) -> RunDir:
    """Returns a run up to a short `train-sft`."""
    data, run_dir = root / "train.jsonl", RunDir(root / "run")
    write_jsonl(data, training_records(0, 500))
    classify(run_dir, ClassifyOptions(data=(str(data),), teachers=_RULES, model="embedded"))
    score(run_dir, ScoreOptions(samples=50))
    partition(run_dir, PartitionOptions())
    train_sft(run_dir, SftOptions(**_SFT))
    lines = (run_dir.folder(Stage.CLASSIFY) / "system2.jsonl").read_text().splitlines(True)
    (root / "prompts.jsonl").write_text("".join(lines[:200]))
    return run_dir


def seconds(work: Callable[[], object]) -> float:
    """Returns the processor time that a call takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def run_stage(run_dir: RunDir, stage: Stage, options: dict[str, object]) -> float:
    """Returns the processor time of a stage in a copy of the run."""
    with tempfile.TemporaryDirectory() as folder:
        copy = RunDir(Path(shutil.copytree(run_dir.root, Path(folder) / "run")))
        if stage is Stage.TRAIN_RL:
            data = {"data": str(run_dir.root.parent / "prompts.jsonl")}
            return seconds(lambda: train_rl(copy, RlOptions(**(_RL | data | options))))
        if stage is Stage.TRAIN_SFT:
            shutil.rmtree(copy.folder(Stage.TRAIN_SFT))
            stated = {
                k: v for k, v in _SFT.items() if not ("find_lr" in options and k == "learning_rate")
            }
            return seconds(lambda: train_sft(copy, SftOptions(**(stated | options))))
        own = {
            "data": str(TEST_SET),
            "limit": 200,
            "max_new_tokens": 64,
            "adapter": ("base", "sft"),
        }
        return seconds(lambda: evaluate(copy, EvalOptions(**(own | options))))


def compare(run_dir: RunDir, stage: Stage, options: dict[str, dict[str, object]]) -> None:
    """Prints how much longer a stage takes with options."""
    plain: dict[str, object] = {"forgetting": False}
    times: dict[str, list[float]] = {"": []} | {name: [] for name in options}
    for _ in range(ROUNDS):
        for name, taken in times.items():
            taken.append(run_stage(run_dir, stage, options.get(name, plain)))
    print(f"{stage}: {statistics.median(times['']):.1f} s")
    for name in options:
        ratios = [
            with_it / without for with_it, without in zip(times[name], times[""], strict=True)
        ]
        more = statistics.median(times[name]) - statistics.median(times[""])
        print(
            f"  {name}: {statistics.median(ratios):.2f} times ({min(ratios):.2f} to "
            f"{max(ratios):.2f}), {more:+.1f} s"
        )


def main() -> None:
    """Prints processor time of each stage, and what each option adds."""
    print(f"recipes: processor time on the embedded model, {ROUNDS} rounds")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        run_dir = prepare(Path(folder))
        compare(run_dir, Stage.EVAL, {"--forgetting": {"forgetting": True}})
        compare(run_dir, Stage.TRAIN_SFT, SFT)
        compare(run_dir, Stage.TRAIN_RL, RL)


if __name__ == "__main__":
    main()
