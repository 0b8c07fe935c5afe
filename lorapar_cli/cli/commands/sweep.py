"""`lorapar sweep`."""

import os
from typing import TYPE_CHECKING, Any

from lorapar_cli.cli.console import print_json, progress_display, say, stdout
from lorapar_cli.cli.options import JsonOption
from lorapar_cli.cli.stage_command import stage_command
from lorapar_cli.comparison.sweep.options import SweepOptions
from lorapar_cli.libraries import TRAINING, require_libraries
from lorapar_cli.plurals import counted

if TYPE_CHECKING:
    from lorapar_cli.comparison.sweep.results import SweepResult
    from lorapar_cli.comparison.sweep.sweep import Plan


@stage_command(SweepOptions)
def sweep(options: SweepOptions, as_json: JsonOption = False) -> None:
    """Run every cell of a grid of settings, sharing stages, and lay out the table."""
    if options.embedded:
        # As in the demo: on one thread, figures do not depend on the number of cores or processes.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    require_libraries(TRAINING, "`lorapar sweep`")
    from lorapar_cli.comparison.sweep import sweep as stage

    plan = stage.open_plan(options)
    if options.dry_run:
        rows = stage.describe(plan)
        if as_json:
            print_json([dict(zip(("cell", "runs", "shares"), row, strict=True)) for row in rows])
            return
        _list_cells(plan, rows)
        return
    with progress_display() as progress:
        result = stage.sweep(plan, progress=progress)
    if as_json:
        print_json(result)
    else:
        _show(plan, result)
    say(f"written: `{plan.folder / 'results.json'}`, `{plan.folder / 'sweep.md'}`")
    stage.require_success(result)


def _list_cells(plan: "Plan", rows: list[tuple[str, str, str]]) -> None:
    console = stdout()
    for name, own, shared in rows:
        console.print(name)
        console.print(f"  runs: {own or 'nothing of its own'}")
        if shared:
            console.print(f"  shares: {shared}")
    runs = {step.key for each in plan.cells for step in each.steps}
    alone = sum(len(each.steps) for each in plan.cells)
    console.print(
        f"{counted(len(rows), 'cell')}, {counted(len(runs), 'stage')} to run in place of {alone}"
    )


def _show(plan: "Plan", result: "SweepResult") -> None:
    from lorapar_cli.comparison.sweep.layout import (
        FORGOTTEN,
        forgetting_lines,
        sentences,
        table_lines,
    )

    heads, rows = table_lines(result, plan.file.table)
    console = stdout()
    console.print(_table(result["title"], heads, rows))
    if (forgotten := forgetting_lines(result, plan.file.table)) is not None:
        console.print(_table(FORGOTTEN, *forgotten))
    for sentence in sentences(result):
        console.print(sentence)


def _table(title: str, heads: list[str], rows: list[list[str]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
