"""Options that `train-sft` and `train-rl` share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

LearningRate = Annotated[float, typer.Option(min=0.0, help="Peak learning rate.")]
Epochs = Annotated[float, typer.Option(min=0.0, help="Passes over the records.")]
MaxSteps = Annotated[int, typer.Option(help="Optimizer steps; -1 follows `--epochs`.")]
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
    list[str] | None,
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
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a result of other settings or inputs.")
]


def training_rows(manifest) -> list[tuple[str, str]]:
    """Returns label and value of what both training stages report."""
    counts, metrics = manifest.counts, manifest.metrics
    share = counts["active"] / counts["elements"]
    return [
        (
            "records",
            ", ".join(f"{n} {system}" for system, n in counts["records"].items() if n),
        ),
        ("steps", str(metrics["steps"])),
        ("active elements", f"{counts['active']:,} of {counts['elements']:,} ({share:.1%})"),
        ("active that moved", f"{counts['active_moved']:,}"),
        ("frozen that moved", f"{counts['frozen_moved']:,} (checked bit by bit)"),
        ("time", f"{manifest.seconds():.0f} s"),
    ]
