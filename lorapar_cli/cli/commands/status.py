"""`lorapar status`: what a run directory contains, and whether it still fits together."""

import time

from lorapar_cli.cli.console import print_json, say, stdout
from lorapar_cli.cli.options import JsonOption, RunDirOption, next_on
from lorapar_cli.errors import LoraparError
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir

_WIDTH = 80


def status(run_dir: RunDirOption = DEFAULT_RUN_DIR, as_json: JsonOption = False) -> None:
    """Show each stage of the run directory: done, stale, damaged, unreadable, unfinished or missing."""
    from lorapar_cli.tools.next_step import NextStep, next_step, rows_with_next
    from lorapar_cli.tools.run_status import run_status

    run = RunDir(run_dir)
    if not run.root.is_dir():
        raise LoraparError(
            f"no run directory `{run.root}`",
            hint="name one with `--run-dir`, or start with `lorapar classify`",
        )
    started = time.monotonic()
    rows = run_status(run)
    seconds = time.monotonic() - started
    step = next_step(run, rows) or NextStep(next_on(run_dir, "lorapar report"))
    if as_json:
        print_json(rows_with_next(rows, step))
        return
    from rich import box
    from rich.table import Table

    table = Table(title=f"run directory {run.root}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("stage", overflow="fold", max_width=24)
    table.add_column("state", no_wrap=True)
    table.add_column("finished (UTC)", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("what", overflow="fold")
    for row in rows:
        label = row["stage"].replace("\n", "\\n")  # The name of an evaluation stays in its line.
        taken = "" if row["seconds"] is None else f"{row['seconds']:,.0f} s"
        # `2026-11-27T07:41:00+00:00` to the minute.
        ended = (row["finished"] or "")[:16].replace("T", " ")
        table.add_row(label, row["state"], ended, taken, row["what"])
    stdout(_WIDTH).print(table)
    say(f"every recorded file was read and compared in {seconds:.1f} s")
    say(f"next: {step.command}")
    if step.why:
        say(f"      {step.why}")
