"""`lorapar score`."""

from pathlib import Path
from typing import Annotated

import typer

from lorapar_cli.cli.console import progress_display, show_outcome
from lorapar_cli.cli.options import (
    RUN_DIR,
    JsonOption,
    ModelOption,
    OutOption,
    RunDirOption,
    SeedOption,
    TrustOption,
    given_options,
    split_list,
)
from lorapar_cli.names import TARGET_MODULES, System
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.rundir import RunDir


def score(
    ctx: typer.Context,
    model: ModelOption = None,
    samples: Annotated[
        int, typer.Option(min=2, help="Records a system to score on, chosen by seed; all if fewer.")
    ] = 400,
    target_modules: Annotated[
        str, typer.Option(help="Module names to put LoRA on, comma-separated.")
    ] = ",".join(TARGET_MODULES),
    r: Annotated[int, typer.Option(min=1, help="LoRA rank r.")] = 8,
    lora_alpha: Annotated[
        int, typer.Option(min=1, help="LoRA scaling: the update is lora_alpha / r times B A.")
    ] = 64,
    init: Annotated[
        str, typer.Option(help="How A and B start: PEFT's `init_lora_weights`.")
    ] = "orthogonal",
    max_length: Annotated[
        int, typer.Option(min=2, help="Tokens; longer records are left out, never cut.")
    ] = 512,
    batch_tokens: Annotated[
        int,
        typer.Option(min=0, help="Tokens a batch, padding included; 0: as the longest record."),
    ] = 0,
    dtype: Annotated[
        str, typer.Option(help="Of the base model: auto, float32, bfloat16 or float16.")
    ] = "auto",
    splits: Annotated[
        Path | None,
        typer.Option(
            help="Folder with system1.jsonl and system2.jsonl. Default: the run's own.",
            rich_help_panel="Where",
        ),
    ] = None,
    out: OutOption = None,
    run_dir: RunDirOption = RUN_DIR,
    seed: SeedOption = 0,
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
) -> Outcome:
    """Create the LoRA adapter and compute every element's importance for both systems."""
    from lorapar_cli.stages import score as stage

    with progress_display() as progress:
        outcome = stage.score(
            RunDir(run_dir),
            model=model,
            splits=splits,
            out=out,
            samples=samples,
            target_modules=split_list(target_modules, "--target-modules"),
            r=r,
            lora_alpha=lora_alpha,
            init=init,
            max_length=max_length,
            batch_tokens=batch_tokens,
            dtype=dtype,
            seed=seed,
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
        table.add_row(
            system.value,
            f"{manifest.counts['samples'][system]:,}",
            f"{manifest.counts['too_long'][system]:,}",
            f"{manifest.metrics[f'loss_{system}']:.4f}",
            f"{manifest.metrics[f'seconds_{system}']:.1f}",
        )
    return [table]
