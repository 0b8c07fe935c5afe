"""`lorapar score`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lorapar_cli.cli.console import progress_display, show_outcome
from lorapar_cli.cli.options import (
    JsonOption,
    ModelOption,
    OutOption,
    RunDirOption,
    SeedOption,
    TemplateOption,
    TrustOption,
    given_options,
    split_list,
)
from lorapar_cli.models.chat_template import read_template
from lorapar_cli.names import TARGET_MODULES, System
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir


class Formula(StrEnum):
    """How importance is computed."""

    TAYLOR2 = "taylor2"
    TAYLOR1 = "taylor1"
    FISHER = "fisher"
    MAGNITUDE = "magnitude"
    RANDOM = "random"


class Dtype(StrEnum):
    """What the base model is computed in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Quantize(StrEnum):
    """What the base weights are stored in."""

    FOUR_BIT = "4bit"
    EIGHT_BIT = "8bit"


def score(
    ctx: typer.Context,
    model: ModelOption = None,
    samples: Annotated[
        int, typer.Option(min=2, help="Records a system to score on, chosen by seed; all if fewer.")
    ] = 400,
    target_modules: Annotated[
        str, typer.Option(help="Module names to put LoRA on, comma-separated.")
    ] = ",".join(TARGET_MODULES),
    r: Annotated[
        int,
        # A launcher in front (`torchrun`) takes `--r` for one of its own options, cut short.
        typer.Option("--r", "--rank", min=1, help="LoRA rank r; `--rank` behind `torchrun`."),
    ] = 8,
    lora_alpha: Annotated[
        int, typer.Option(min=1, help="LoRA scaling: the update is lora_alpha / r times B A.")
    ] = 64,
    init: Annotated[
        str,
        typer.Option(
            help="How A and B start: orthogonal, pissa, pissa_niter_N, olora, corda, lora_ga, loftq, "
            "gaussian, default, false, eva or mica (PEFT's names)."
        ),
    ] = "orthogonal",
    init_scale: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of A and B for `--init gaussian`, above 0; the authors' is 0.01. "
            "Default: PEFT's gaussian, where B = 0.",
        ),
    ] = None,
    formula: Annotated[
        Formula,
        typer.Option(
            help="Importance: taylor2 (the paper's), taylor1, fisher, magnitude or random."
        ),
    ] = Formula.TAYLOR2,
    max_length: Annotated[
        int, typer.Option(min=2, help="Tokens; longer records are left out, never cut.")
    ] = 512,
    batch_tokens: Annotated[
        int,
        typer.Option(
            min=0,
            help="Tokens a batch at most, padding included, which bounds memory; 0: as many as "
            "the longest record has, on a GPU at least 4096.",
        ),
    ] = 0,
    packing: Annotated[
        bool,
        typer.Option(
            "--packing",
            help="Put the samples of a batch end to end into one row, without padding; refused "
            "where the model does not keep them apart.",
        ),
    ] = False,
    dtype: Annotated[
        Dtype, typer.Option(help="Of the base model; auto: bfloat16 where a GPU computes it.")
    ] = Dtype.AUTO,
    quantize: Annotated[
        Quantize | None,
        typer.Option(help="Load the base weights in 4 or 8 bits; needs `lorapar[quantize]`."),
    ] = None,
    template: TemplateOption = None,
    splits: Annotated[
        Path | None,
        typer.Option(
            help="Folder with system1.jsonl and system2.jsonl. Default: the run's own.",
            rich_help_panel="Where",
        ),
    ] = None,
    out: OutOption = None,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    seed: SeedOption = 0,
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
) -> Outcome:
    """Create the LoRA adapter and compute every element's importance for both systems."""
    from lorapar_cli.scoring import score as stage

    options = stage.ScoreOptions(
        samples=samples,
        target_modules=tuple(split_list(target_modules, "--target-modules")),
        r=r,
        lora_alpha=lora_alpha,
        init=init,
        init_scale=init_scale,
        formula=formula.value,
        max_length=max_length,
        batch_tokens=batch_tokens,
        packing=packing,
        dtype=dtype.value,
        quantize=quantize.value if quantize else None,
        template=read_template(template),
        seed=seed,
    )
    with progress_display() as progress:
        outcome = stage.score(
            RunDir(run_dir),
            options,
            model=model,
            splits=splits,
            out=out,
            trust_remote_code=trust_remote_code,
            given=given_options(ctx),
            progress=progress,
        )
    show_outcome(outcome, as_json, _render, "lorapar partition")
    return outcome


def _render(manifest: Manifest) -> list:
    from rich.table import Table

    table = Table(title=f"importance of {manifest.counts['elements']:,} elements")
    for column in ("", "samples", "too long", "mean loss", "seconds"):
        table.add_column(column, justify="left" if not column else "right")
    for system in System:
        loss = manifest.metrics.get(f"loss_{system}")
        table.add_row(
            system.value,
            f"{manifest.counts['samples'][system]:,}",
            f"{manifest.counts['too_long'][system]:,}",
            "-" if loss is None else f"{loss:.4f}",
            "-" if loss is None else f"{manifest.metrics[f'seconds_{system}']:.1f}",
        )
    step0 = manifest.metrics["step0_logit_difference"]
    lines = [table, f"step 0 differs from the base model by {step0:.1e} at most in a logit"]
    if noise := manifest.metrics.get("noise"):
        lines.append(_noise_table(noise))
    return lines


def _noise_table(noise: dict):
    from rich.table import Table

    table = Table(title=f"agreement of halves of the samples, sets at theta {noise['theta']:g}")
    table.add_column("halves of")
    for head in ("Jaccard", "rank correlation"):
        table.add_column(head, justify="right")
    for label, key in (("system1", "within1"), ("system2", "within2"), ("both", "between")):
        table.add_row(label, f"{noise[key]:.3f}", f"{noise[f'rank_{key}']:.3f}")
    table.add_row("chance", f"{noise['chance']:.3f}", "0.000")
    return table
