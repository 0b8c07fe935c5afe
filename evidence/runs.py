"""Run directories of the studies on the embedded model: labels that are given, scores, SFT."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorapar_cli.embedded.corpus import Record as CorpusRecord
from lorapar_cli.embedded.corpus import training_records
from lorapar_cli.labelling.classify import classify
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score import score
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.options import SftOptions
from lorapar_cli.training.train_sft import train_sft

RULES = ("rules-operations", "rules-cues", "rules-shape")
TRUTH = "truth"
SPLITTERS = (TRUTH, "rules", "student", "random")

SFT: dict[str, Any] = {
    "scheduler": "linear",
    "per_device_batch_size": 16,
    "gradient_accumulation": 1,
    "lora_dropout": 0.0,
}
"""The demo's settings of SFT, but for the rate, which each cell searches."""

RL: dict[str, Any] = {
    "scheduler": "constant_with_warmup",
    "warmup": 5.0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "max_steps": 60,
    "per_device_batch_size": 64,
    "gradient_accumulation": 1,
    "num_generations": 8,
    "max_completion_length": 48,
    "rewards": "answer=1,format=0.1",
}
"""The demo's settings of RL, without replay."""


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes rows as JSON Lines, unless they are already there."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if not (path.is_file() and path.read_text(encoding="utf-8") == text):
        with atomic_file(path) as file:
            file.write(text)
    return path


def label(
    run: RunDir,
    data: Path,
    rows: Sequence[Mapping[str, Any]],
    splitter: str,
    model: str,
    **changes: Any,
) -> None:
    """Runs `classify` without held-out records, labelling by one of the splitters.

    Args:
        rows: Of the file `data`, with their true `label`s.
        splitter: `truth` (the rows' labels), `rules`, `student` (rules and the student) or `random`.
    """
    options = ClassifyOptions(data=(str(data),), strategy="random", model=model, holdout=0.0)
    if splitter == TRUTH:
        known = [{"id": row["id"], "label": row["label"]} for row in rows]
        options = replace(options, review=write_lines(run.root / "truth.jsonl", known))
    elif splitter == "rules":
        options = replace(options, strategy="vote", teachers=RULES)
    elif splitter == "student":
        options = replace(
            options, strategy="vote", teachers=(*RULES, "student"), student_chain=True
        )
    classify(run, replace(options, **changes))


def embedded_run(
    root: Path, splitter: str, *, per_system: int, samples: int, after_sft: bool = False
) -> RunDir:
    """Returns a run of the embedded model up to `partition`, made if it is not there.

    Args:
        per_system: Training records of each system.
        samples: For scoring.
        after_sft: Whether to train SFT too, at the demo's rate and theta, for RL to start from.
    """
    run = RunDir(root)
    rows: list[CorpusRecord] = training_records(0, per_system)
    data = write_lines(root / "train.jsonl", rows)
    label(run, data, rows, splitter, "embedded")
    score(run, ScoreOptions(samples=samples))
    partition(run, PartitionOptions())
    if after_sft:
        train_sft(run, SftOptions(learning_rate=1.5e-3, **SFT))
    return run
