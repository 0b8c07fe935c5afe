"""`lorapar score`."""

from typing import Any

import typer

from lorapar_cli.cli.console import progress_display, show_outcome
from lorapar_cli.cli.options import JsonOption, RunDirOption, given_options, next_on
from lorapar_cli.cli.stage_command import stage_command
from lorapar_cli.names import System
from lorapar_cli.plurals import counted
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.stage_records.score import Noise, ScoreMetrics, ScoreRecord
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir


@stage_command(ScoreOptions)
def score(
    ctx: typer.Context,
    options: ScoreOptions,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    as_json: JsonOption = False,
) -> Outcome:
    """Create the LoRA adapter and compute every element's importance for both systems."""
    from lorapar_cli.scoring import score as stage

    with progress_display() as progress:
        outcome = stage.score(RunDir(run_dir), options, given=given_options(ctx), progress=progress)
    show_outcome(outcome, as_json, _render, next_on(run_dir, "lorapar partition"))
    return outcome


def _render(manifest: Manifest) -> list[Any]:
    from rich.table import Table

    record = manifest.record(ScoreRecord)
    counts, metrics = record.counts, record.metrics
    table = Table(title=f"importance of {counted(counts['elements'], 'element')}")
    for column in ("", "samples", "too long", "mean loss", "seconds"):
        table.add_column(column, justify="left" if not column else "right")
    for system, figures in _passes(metrics).items():
        table.add_row(
            system, f"{counts['samples'][system]:,}", f"{counts['too_long'][system]:,}", *figures
        )
    step0 = metrics["step0_logit_difference"]
    lines = [table, f"logits at step 0 differ from the base model's by at most {step0:.1e}"]
    if (noise := metrics.get("noise")) is not None:
        lines.append(_noise_table(noise))
    return lines


def _passes(metrics: ScoreMetrics) -> dict[str, tuple[str, str]]:
    """Returns system -> mean loss and seconds of its pass, dashes where there was none."""
    figures = {
        System.SYSTEM1: (metrics.get("loss_system1"), metrics.get("seconds_system1")),
        System.SYSTEM2: (metrics.get("loss_system2"), metrics.get("seconds_system2")),
    }
    return {
        system.value: (
            "-" if loss is None else f"{loss:.4f}",
            "-" if seconds is None else f"{seconds:.1f}",
        )
        for system, (loss, seconds) in figures.items()
    }


def _noise_table(noise: Noise) -> Any:
    from rich.table import Table

    table = Table(title=f"agreement of halves of the samples, sets at theta {noise['theta']:g}")
    table.add_column("halves of")
    for head in ("Jaccard", "rank correlation"):
        table.add_column(head, justify="right")
    rows = (
        ("system1", noise["within1"], noise["rank_within1"]),
        ("system2", noise["within2"], noise["rank_within2"]),
        ("both systems", noise["between"], noise["rank_between"]),
        ("random sets", noise["chance"], 0.0),
    )
    for label, jaccard, correlation in rows:
        table.add_row(label, f"{jaccard:.3f}", f"{correlation:.3f}")
    return table
