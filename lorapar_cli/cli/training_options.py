"""Options that `train-sft` and `train-rl` share."""

import math
from dataclasses import fields
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lorapar_cli.cli.console import two_columns
from lorapar_cli.errors import UsageError

LearningRate = Annotated[float, typer.Option(min=0.0, help="Peak learning rate.")]
Epochs = Annotated[float, typer.Option(min=0.0, help="Passes over the records.")]
MaxSteps = Annotated[int, typer.Option(min=-1, help="Optimizer steps; -1 follows `--epochs`.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Sequences a device handles at once.")]
Accumulation = Annotated[
    int, typer.Option(min=1, help="Batches whose gradients make one optimizer step.")
]
Scheduler = Annotated[
    str, typer.Option(help="Learning-rate schedule: `cosine`, `linear`, `constant_with_warmup`...")
]
Warmup = Annotated[
    float, typer.Option(min=0.0, help="Warm-up: a share of the steps below 1, else steps.")
]
WeightDecay = Annotated[float, typer.Option(min=0.0, help="Weight decay of active elements.")]
MaxGradNorm = Annotated[
    float, typer.Option(min=0.0, help="Gradient norm, over active elements, that is clipped to.")
]
Optimizer = Annotated[str, typer.Option(help="Optimizer, by its name in `TrainingArguments`.")]
Replay = Annotated[
    float,
    typer.Option(min=0.0, max=0.9, help="Share of records taken from the other system (0 to 0.9)."),
]
Checkpointing = Annotated[
    bool, typer.Option("--gradient-checkpointing", help="Recompute activations to save memory.")
]
SaveSteps = Annotated[int, typer.Option(min=1, help="Optimizer steps between checkpoints.")]
Dtype = Annotated[
    str,
    typer.Option(
        help="Base model's dtype: `auto` (bfloat16 on a GPU, float32 elsewhere), `float32`, "
        "`bfloat16`, `float16`. The adapter is float32 always."
    ),
]


class QuantizeChoice(StrEnum):
    """Bits of a quantised base."""

    FOUR = "4bit"
    EIGHT = "8bit"


Quantize = Annotated[
    QuantizeChoice | None,
    typer.Option(help="Load the base weights in 4 or 8 bits; needs `lorapar[quantize]`."),
]
Training = Annotated[
    list[str],
    typer.Option(
        metavar="KEY=VALUE", help="Any further argument of TRL's trainer config; repeatable."
    ),
]
Splits = Annotated[
    Path | None,
    typer.Option(
        help="Folder with system1.jsonl and system2.jsonl. Default: classify's.",
        rich_help_panel="Where",
    ),
]
Mask = Annotated[
    str | None,
    typer.Option(
        help="Mask file, or `none` to train every element. Default: partition's.",
        rich_help_panel="Where",
    ),
]


class FromStage(StrEnum):
    """Adapters of a run that training can go on from."""

    INIT = "init"
    SFT = "sft"
    RL = "rl"


From = Annotated[
    FromStage | None,
    typer.Option(
        "--from",
        help="The run's adapter to go on from: as scored (init), after SFT, after RL. "
        "Default: init for train-sft, sft for train-rl.",
        rich_help_panel="Where",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a result of other settings or inputs.")
]


Data = Annotated[
    str,
    typer.Option(
        help="Records to train on: `system1`, `system2`, `all`, or a file that classify can read."
    ),
]
ReportTo = Annotated[
    str, typer.Option(help="Tracker that also gets the metrics: none, wandb, tensorboard, trackio.")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Do everything up to the first step, show what it would be, write nothing.",
    ),
]


_TRAINS_NOTHING = {"learning_rate": 0, "epochs": 0, "max_steps": 0}


def collect(options_class: type, values: dict):
    """Returns an options dataclass from a command's arguments by the names of its fields.

    Raises:
        UsageError: A number is nan or infinite, which passes every check of a range, or leaves
            nothing to train by.
    """
    for field in fields(options_class):
        value = values[field.name]
        if isinstance(value, float) and not math.isfinite(value):
            option = "--" + field.name.replace("_", "-")
            raise UsageError(f"`{option}` is not a finite number", str(value))
    for name, nothing in _TRAINS_NOTHING.items():
        if values[name] == nothing:
            raise UsageError(f"`--{name.replace('_', '-')} {nothing}` trains nothing")
    return options_class(**{f.name: _plain(values[f.name]) for f in fields(options_class)})


def _plain(value):
    if isinstance(value, Enum):
        return value.value
    return tuple(value) if isinstance(value, list) else value


def dry_run_tables(manifest) -> list:
    """Returns what a dry run found: steps, learning rates, memory."""
    metrics, counts = manifest.metrics, manifest.counts
    rows = [
        ("records", f"{counts['trained_records']:,}"),
        ("steps", f"{metrics['steps']:,}"),
        ("active elements", f"{counts['active']:,} of {counts['elements']:,}"),
        ("processes", str(metrics["processes"])),
    ]
    rows += [
        (f"learning rate, step {k + 1}", f"{v:.3g}") for k, v in metrics["learning_rates"].items()
    ]
    rows += [(f"memory, {k}", f"{v / 2**20:,.1f} MiB") for k, v in metrics["bytes"].items()]
    rows.append(("memory, activations", "depends on batch and length"))
    return [two_columns("dry run: nothing was trained or written", rows)]


def records_trained_on(manifest) -> str:
    """Returns what a title calls the records of `--data`."""
    data = manifest.settings["data"]
    named = {"system1": "System-1 records", "system2": "System-2 records", "all": "all records"}
    return named.get(data, data)


def training_rows(manifest) -> list[tuple[str, str]]:
    """Returns label and value of what both training stages report."""
    counts, metrics = manifest.counts, manifest.metrics
    share = counts["active"] / counts["elements"]
    return [
        (
            "records",
            ", ".join(f"{n:,} {system}" for system, n in counts["records"].items() if n)
            or f"{counts['trained_records']:,}",
        ),
        ("steps", str(metrics["steps"])),
        ("active elements", f"{counts['active']:,} of {counts['elements']:,} ({share:.1%})"),
        ("active that moved", f"{counts['active_moved']:,}"),
        ("frozen that moved", f"{counts['frozen_moved']:,} (checked bit by bit)"),
        ("time", f"{manifest.seconds():.0f} s"),
    ]
