"""`lorapar doctor`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lorapar_cli.cli.console import print_json, stdout
from lorapar_cli.cli.options import JsonOption, RunDirOption
from lorapar_cli.errors import LoraparError
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir

if TYPE_CHECKING:
    from lorapar_cli.tools.doctor import Finding


def doctor(run_dir: RunDirOption = DEFAULT_RUN_DIR, as_json: JsonOption = False) -> None:
    """Check this machine: versions, GPUs, disk, keys, sandbox; exit 1 if a check fails."""
    from lorapar_cli.tools import doctor as checks

    findings = checks.doctor(RunDir(run_dir))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        stdout().print(_table(findings))
    failed = [finding.topic for finding in findings if finding.state is checks.State.PROBLEM]
    if failed:
        raise LoraparError(f"{len(failed)} of {len(findings)} checks failed", ", ".join(failed))


def _table(findings: "list[Finding]") -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for heading in ("check", "state", "found"):
        table.add_column(heading)
    for finding in findings:
        found = finding.found + (f"\n-> {finding.hint}" if finding.hint else "")
        table.add_row(finding.topic, finding.state.value, escape(found))
    return table
