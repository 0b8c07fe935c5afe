"""`lorapar report`."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from lorapar_cli.cli.console import print_text, say
from lorapar_cli.cli.options import RunDirOption
from lorapar_cli.errors import UsageError
from lorapar_cli.names import Artifact
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir
from lorapar_cli.text_safety import make_inert


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run directories: of one a whole page, of several a comparison with one row per "
            "evaluated model. Default: that of `--run-dir`.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write. Default: report.html in the run directory, `comparison.html` in "
            "the current folder for several runs, stdout for Markdown."
        ),
    ] = None,
    markdown: Annotated[
        bool,
        typer.Option(
            "--markdown", help="Write Markdown; also chosen by an `--out` that ends in .md."
        ),
    ] = False,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
) -> None:
    """Write a page with a run's results and how they were made, or a comparison of several runs."""
    if runs and len(runs) == 1:
        run_dir, runs = runs[0], None
    if markdown or (out is not None and out.suffix.lower() in (".md", ".markdown")):
        if open_page:
            raise UsageError("`--open` is for HTML pages, and Markdown was asked for")
        _write_markdown(runs, out, run_dir)
        return
    from lorapar_cli.tools.page.page import comparison_page, run_page, write_page

    if runs:
        path = out or Path("comparison.html")
        text = comparison_page([RunDir(root) for root in runs])
    else:
        path = out or run_dir / Artifact.REPORT
        text = run_page(RunDir(run_dir))
    write_page(text, path)
    say(f"written: `{path}`")
    if open_page and not webbrowser.open(path.resolve().as_uri()):
        say("note: no browser could be started; open the file yourself")


def _write_markdown(runs: list[Path] | None, out: Path | None, run_dir: Path) -> None:
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
