"""`lorapar status`: what a run directory holds, and whether it still fits together."""

import json
from typing import Annotated

import typer

from lorapar_cli.cli.console import stdout
from lorapar_cli.cli.options import RunDirOption
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR


def status(
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
) -> None:
    """Show each stage of the run directory: done, stale, unfinished or missing."""
    from lorapar_cli.store.run_dir import RunDir

    run = RunDir(run_dir)
    if not run.root.is_dir():
        raise LoraparError(
            f"no run directory `{run.root}`",
            hint="name it with `--run-dir`, or start with classify",
        )
    rows = [row for stage in Stage for row in _rows(run, stage)]
    if as_json:
        print(json.dumps(rows))
        return
    from rich.table import Table

    table = Table(title=f"run directory {run.root}", title_justify="left")
    for heading in ("stage", "state", "finished", "seconds", "what"):
        table.add_column(heading)
    for row in rows:
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.0f}"
        table.add_row(row["stage"], row["state"], row["finished"] or "", seconds, row["what"])
    stdout().print(table)


def _rows(run, stage: Stage) -> list[dict]:
    """Returns one row a stage; `eval` has one an evaluation."""
    from lorapar_cli.store.run_dir import RunDir

    if stage is not Stage.EVAL or not run.folder(stage).is_dir():
        return [_row(run, stage, stage.value)]
    # Evaluations lie one folder deeper, each with its own manifest.
    names = sorted(p.name for p in run.folder(stage).iterdir() if not p.name.startswith("."))
    inside = RunDir(run.folder(stage))
    return [_row(inside, name, f"eval/{name}") for name in names]


def _row(run, folder, label: str) -> dict:
    manifest = run.manifest(folder)
    row = {"stage": label, "state": "missing", "finished": None, "seconds": None, "what": ""}
    if manifest is None:
        if run.folder(folder).exists():
            row["state"] = "unfinished"
        return row
    changed = run.changed_inputs(folder)
    row["state"] = "stale" if changed else "done"
    row["finished"], row["seconds"] = manifest.ended, manifest.seconds()
    row["what"] = f"changed since: {', '.join(changed)}" if changed else _describe(manifest.counts)
    return row


def _describe(counts: dict) -> str:
    """Returns the manifest's plain counts in one line."""
    plain = [f"{value:,} {name}" for name, value in counts.items() if isinstance(value, int)]
    return ", ".join(plain[:4]).replace("_", " ")
