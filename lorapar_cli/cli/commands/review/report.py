"""`lorapar report`."""

from pathlib import Path
from typing import Annotated

import typer

from lorapar_cli.cli.console import print_text, say
from lorapar_cli.cli.options import RunDirOption
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir
from lorapar_cli.text_safety import make_inert


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run directories to compare, with one row per evaluated model. Without any: a "
            "whole page about the run of `--run-dir`.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write. Default: stdout.")] = None,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
) -> None:
    """Write a run's results and how they were made as Markdown, or compare several runs."""
    from lorapar_cli.tools.compare_runs import compare_runs
    from lorapar_cli.tools.report import report as write_report

    if runs:
        text = compare_runs([RunDir(root) for root in runs])
    else:
        text = write_report(RunDir(run_dir), page_folder=Path() if out is None else out.parent)
    if out is None:
        print_text(text, end="")
        return
    with atomic_file(out) as file:
        file.write(make_inert(text))
    say(f"written: `{out}`")
