"""`lorapar train-sft`."""

from typing import Any

import typer

from lorapar_cli.cli.console import progress_display, show_dry_run, show_outcome, two_columns
from lorapar_cli.cli.options import JsonOption, RunDirOption, given_options, next_on
from lorapar_cli.cli.stage_command import stage_command
from lorapar_cli.cli.training_tables import (
    dry_run_tables,
    records_trained_on,
    training_rows,
    watched_lines,
)
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.training import SftRecord
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir
from lorapar_cli.training.options import SftOptions


@stage_command(SftOptions)
def train_sft(
    ctx: typer.Context,
    options: SftOptions,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    as_json: JsonOption = False,
) -> Outcome | None:
    """Train the elements active in SFT on System-1 records (stage 4)."""
    from lorapar_cli.training.train_sft import train_sft as stage

    with progress_display() as progress:
        outcome = stage(RunDir(run_dir), options, given=given_options(ctx), progress=progress)
    if options.dry_run:
        show_dry_run(outcome, as_json, dry_run_tables)
        return None
    show_outcome(outcome, as_json, _render, next_on(run_dir, "lorapar train-rl"))
    return outcome


def _render(manifest: Manifest) -> list[Any]:
    record = manifest.record(SftRecord)
    rows = training_rows(manifest, record)
    after_steps = 1 + [label for label, _ in rows].index("steps")
    rows.insert(after_steps, ("mean loss", f"{record.metrics['loss']:.3f}"))
    if (replay := record.metrics.get("replay")) is not None:
        cost = (
            f"{counted(replay['asked'], 'answer')}, {counted(replay['tokens'], 'token')}, "
            f"{replay['seconds']:.0f} s"
        )
        rows.insert(after_steps, ("sampled for replay", cost))
    table = two_columns(f"SFT on {records_trained_on(manifest)}", rows)
    return [table, *watched_lines(record)]
