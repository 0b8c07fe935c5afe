"""`lorapar status`: what a run directory contains, and whether it still fits together."""

import json
from typing import Any, TypedDict

from lorapar_cli.cli.console import stdout
from lorapar_cli.cli.options import JsonOption, RunDirOption
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir


class Row(TypedDict):
    """One stage or evaluation."""

    stage: str
    state: str
    finished: str | None
    seconds: float | None
    what: str


def status(run_dir: RunDirOption = DEFAULT_RUN_DIR, as_json: JsonOption = False) -> None:
    """Show each stage of the run directory: done, stale, unfinished or missing."""
    run = RunDir(run_dir)
    if not run.root.is_dir():
        raise LoraparError(
            f"no run directory `{run.root}`",
            hint="name one with `--run-dir`, or start with `lorapar classify`",
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


def _rows(run: RunDir, stage: Stage) -> list[Row]:
    """Returns one row per stage, for `eval` one per evaluation."""
    if stage is not Stage.EVAL or not run.folder(stage).is_dir():
        return [_row(run, stage, stage.value)]
    # Evaluations lie one folder deeper, each with its own manifest.
    names = sorted(p.name for p in run.folder(stage).iterdir() if not p.name.startswith("."))
    inside = RunDir(run.folder(stage))
    return [_row(inside, name, f"eval/{name}") for name in names]


def _row(run: RunDir, folder: str, label: str) -> Row:
    manifest = run.manifest(folder)
    if manifest is None:
        state = "unfinished" if run.folder(folder).exists() else "missing"
        return {"stage": label, "state": state, "finished": None, "seconds": None, "what": ""}
    changed = run.changed_inputs(folder)
    return {
        "stage": label,
        "state": "stale" if changed else "done",
        "finished": manifest.ended,
        "seconds": manifest.seconds(),
        "what": f"changed since: {', '.join(changed)}" if changed else _describe(manifest.counts),
    }


def _describe(counts: dict[str, Any]) -> str:
    """Returns the first plain counts of a manifest in one line."""
    plain = [f"{value:,} {name}" for name, value in counts.items() if isinstance(value, int)]
    return ", ".join(plain[:4]).replace("_", " ")
