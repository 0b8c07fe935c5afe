"""`lorapar train-rl`."""

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
from lorapar_cli.stage_records.training import RlRecord
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir
from lorapar_cli.training.options import RlOptions


@stage_command(RlOptions)
def train_rl(
    ctx: typer.Context,
    options: RlOptions,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    as_json: JsonOption = False,
) -> Outcome | None:
    """Train the elements active in RL by GRPO on System-2 records (stage 5)."""
    from lorapar_cli.training.train_rl import train_rl as stage

    with progress_display() as progress:
        outcome = stage(RunDir(run_dir), options, given=given_options(ctx), progress=progress)
    if options.dry_run:
        show_dry_run(outcome, as_json, dry_run_tables)
        return None
    show_outcome(outcome, as_json, _render, next_on(run_dir, "lorapar eval"))
    return outcome


def _render(manifest: Manifest) -> list[Any]:
    record = manifest.record(RlRecord)
    rows = training_rows(manifest, record)
    after_steps = 1 + [label for label, _ in rows].index("steps")
    if (clipped := record.metrics.get("clipped")) is not None:
        rows.insert(after_steps, ("completions cut off", f"{clipped:.1%}"))
    if (reward := record.metrics["reward"]) is not None:
        rows.insert(after_steps, ("mean reward of the last step", f"{reward:.3f}"))
    if (refill := record.metrics.get("refill")) is not None:
        cost = (
            f"{counted(refill['completions'], 'completion')} of "
            f"{counted(refill['prompts'], 'further prompt')}"
        )
        rows.insert(after_steps, ("refilled at a cost of", f"{cost}, {refill['seconds']:.0f} s"))
    if (found := record.metrics.get("pass_filter")) is not None:
        cost = f"{counted(found['completions'], 'completion')}, {found['seconds']:.0f} s"
        kept = f"{found['kept']:,} of {counted(found['asked'], 'prompt')} kept ({cost})"
        rows.insert(after_steps - 1, ("filtered by pass rate", kept))
    table = two_columns(f"GRPO on {records_trained_on(manifest)}", rows)
    return [table, *watched_lines(record)]
