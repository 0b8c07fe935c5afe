"""`lorapar doctor`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from lorapar_cli.cli.console import stdout
from lorapar_cli.cli.options import RunDirOption
from lorapar_cli.errors import LoraparError
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR


def doctor(
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the findings as JSON to stdout instead of a table."),
    ] = False,
) -> None:
    """Check this machine: versions, GPUs, disk, keys, sandbox; exit 1 where something is wrong."""
    from lorapar_cli.store.run_dir import RunDir
    from lorapar_cli.tools import doctor as stage

    findings = stage.doctor(RunDir(run_dir))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        stdout().print(_table(findings))
    wrong = [finding.topic for finding in findings if finding.state is stage.State.PROBLEM]
    if wrong:
        raise LoraparError(f"{len(wrong)} of {len(findings)} checks failed", ", ".join(wrong))


def _table(findings: list):
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for heading in ("what", "state", "found"):
        table.add_column(heading)
    for finding in findings:
        found = finding.found + (f"\n-> {finding.hint}" if finding.hint else "")
        table.add_row(finding.topic, finding.state.value, escape(found))
    return table
