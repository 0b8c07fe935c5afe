"""`lorapar status`: what a run directory contains, and whether it still fits together."""

import time
from pathlib import Path
from typing import Any, TypedDict

from lorapar_cli.cli.console import print_json, say, stdout
from lorapar_cli.cli.options import JsonOption, RunDirOption
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.store.disk.regular_files import UnreadableError, exists
from lorapar_cli.store.run_dir import CHANGES, DEFAULT_RUN_DIR, RunDir


class Row(TypedDict):
    """One stage or evaluation."""

    stage: str
    state: str
    finished: str | None
    seconds: float | None
    what: str


def status(run_dir: RunDirOption = DEFAULT_RUN_DIR, as_json: JsonOption = False) -> None:
    """Show each stage of the run directory: done, stale, damaged, unreadable, unfinished or missing."""
    run = RunDir(run_dir)
    if not run.root.is_dir():
        raise LoraparError(
            f"no run directory `{run.root}`",
            hint="name one with `--run-dir`, or start with `lorapar classify`",
        )
    started = time.monotonic()
    rows = [row for stage in Stage for row in _rows(run, stage)]
    seconds = time.monotonic() - started
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    table = Table(title=f"run directory {run.root}", title_justify="left")
    for heading in ("stage", "state", "finished", "seconds", "what"):
        table.add_column(heading)
    for row in rows:
        label = row["stage"].replace("\n", "\\n")  # The name of an evaluation stays in its line.
        taken = "" if row["seconds"] is None else f"{row['seconds']:.0f}"
        table.add_row(label, row["state"], row["finished"] or "", taken, row["what"])
    stdout().print(table)
    say(f"every recorded file was read and compared in {seconds:.1f} s")


def _rows(run: RunDir, stage: Stage) -> list[Row]:
    """Returns one row per stage, for `eval` one per evaluation."""
    if stage is not Stage.EVAL or not run.folder(stage).is_dir():
        return [_row(run, stage, stage.value)]
    # Evaluations lie one folder deeper, each with its own manifest.
    names = sorted(p.name for p in run.folder(stage).iterdir() if not p.name.startswith("."))
    return [_row(run, f"{stage}/{name}", f"{stage}/{name}") for name in names]


def _row(run: RunDir, folder: str, label: str) -> Row:
    row: Row = {"stage": label, "state": "missing", "finished": None, "seconds": None, "what": ""}
    try:
        manifest = run.manifest(folder)
        if manifest is None:
            row["state"] = "unfinished" if exists(run.folder(folder)) else "missing"
            return row
        row["finished"], row["seconds"] = manifest.ended, manifest.seconds()
        damage, changes = run.damage(folder), run.changed_inputs(folder)
    except UnreadableError as error:
        row["state"], row["what"] = "unreadable", f"{error.what}: {error.found}"
        return row
    except LoraparError as error:
        row["state"], row["what"] = "damaged", f"manifest: {error.found or error.what}"
        return row
    # A file outside the run directory may be moved away once it has been read.
    own = {
        n for n, described in manifest.inputs.items() if not Path(described["path"]).is_absolute()
    }
    stale = [name for name, how in changes.items() if how == "changed" or name in own]
    row["state"] = "damaged" if damage else "stale" if stale else "done"
    parts = [f"`{each.name}` {each.found}" for each in damage]
    parts += [f"input `{name}` {CHANGES[how]}" for name, how in changes.items()]
    row["what"] = "; ".join(parts) or _describe(manifest.counts)
    return row


def _describe(counts: dict[str, Any]) -> str:
    """Returns the first plain counts of a manifest in one line."""
    plain = [f"{value:,} {name}" for name, value in counts.items() if isinstance(value, int)]
    return ", ".join(plain[:4]).replace("_", " ")
