"""Seconds of the processor that options add to whole training stages, on the embedded model.

Each stage is run without the option and with it, in turns. What is added is said as it stands, and
by step, measurement or completion where the option's work is counted so.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorapar_cli.embedded.corpus import training_records
from lorapar_cli.labelling.classify import classify
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score import score
from lorapar_cli.store.records import write_jsonl
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft

ROUNDS, RECORDS = 2, 400
SFT = SftOptions(
    max_steps=10,
    per_device_batch_size=8,
    gradient_accumulation=1,
    forgetting=False,
    learning_rate=1e-3,
    overwrite=True,
)
RL = RlOptions(
    max_steps=4,
    per_device_batch_size=16,
    gradient_accumulation=1,
    num_generations=4,
    max_completion_length=32,
    learning_rate=1e-3,
    forgetting=False,
    from_="init",
    overwrite=True,
)
# Options that a stage is run with, and how often their work is done in it.
SFT_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "--forgetting (the default)": ({"forgetting": True}, "2 measurements"),
    "--watch 5": ({"forgetting": True, "watch": 5}, "3 measurements"),
    "--eval-steps 5": ({"eval_steps": 5}, "3 measurements"),
    "--replay 0.3": ({"replay": 0.3}, "10 steps"),
    "--find-lr": ({"find_lr": True, "find_lr_steps": 5}, "one search"),
    "--device-map auto": ({"device_map": "auto"}, "10 steps"),
}
RL_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "--refill": ({"refill": True}, "4 steps"),
    "--min-pass 0.1": ({"min_pass": 0.1, "pass_samples": 2}, "one filter"),
}


def prepare(folder: Path) -> RunDir:
    """Returns a run directory in which the training stages can start."""
    data, run_dir = folder / "data.jsonl", RunDir(folder / "run")
    write_jsonl(data, training_records()[:RECORDS])
    classify(run_dir, ClassifyOptions(data=(str(data),), teachers=("rules-operations",)))
    score(run_dir, ScoreOptions(model="embedded", samples=40))
    partition(run_dir, PartitionOptions(theta=0.5))
    return run_dir


def spent(stage: Callable[[], Any]) -> float:
    """Returns the seconds of the processor that a stage takes."""
    began = time.process_time()
    stage()
    return time.process_time() - began


def main() -> None:
    """Prints what each option adds to a stage."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = prepare(Path(folder))
        for name, train, plain, options in (
            ("train-sft, 10 steps of 8 records", train_sft, SFT, SFT_OPTIONS),
            ("train-rl, 4 steps of 16 completions", train_rl, RL, RL_OPTIONS),
        ):
            train(run_dir, plain)
            base: list[float] = []
            found: dict[str, list[float]] = {each: [] for each in options}
            for _ in range(ROUNDS):
                base.append(spent(lambda run=train, given=plain: run(run_dir, again(given))))
                for each, (changes, _) in options.items():
                    given = again(replace(plain, **changes))
                    total = spent(lambda run=train, given=given: run(run_dir, given))
                    found[each].append(total - base[-1])
            print(f"  {name}: {statistics.median(base):.2f} s of the processor", flush=True)
            for each, (_, work) in options.items():
                added = found[each]
                print(
                    f"  {each}: {statistics.median(added):+.2f} s ({min(added):+.2f} to "
                    f"{max(added):+.2f}) for {work}"
                )


def again(options: Any) -> Any:
    """Returns the options of another run: a finished one of the same options is not repeated."""
    again.runs += 1
    return replace(options, seed=1000 + again.runs)


again.runs = 0


if __name__ == "__main__":
    main()
