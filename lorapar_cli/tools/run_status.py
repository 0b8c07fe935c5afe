"""What a run directory contains, stage by stage, and whether it still fits together."""

from pathlib import Path
from typing import Any, NotRequired, TypedDict

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact, Stage, System
from lorapar_cli.plurals import counted
from lorapar_cli.store.disk.regular_files import UnreadableError, exists
from lorapar_cli.store.records import read_jsonl
from lorapar_cli.store.resumable_folder import read_end
from lorapar_cli.store.run_dir import CHANGES, RunDir

# A count has the name of many.
_OF_ONE = {"matrices": "matrix"}


class StageStatus(TypedDict):
    """One stage or evaluation.

    Keys:
        stage: `eval/<name>` for an evaluation.
        state: done, stale, damaged, unreadable, unfinished or missing.
        what: Its first counts, or what is wrong with it.
        next: What to type next, of `status` alone: at the first that is not done, else at the last.
        why: A sentence for whoever would not expect that command.
    """

    stage: str
    state: str
    finished: str | None
    seconds: float | None
    what: str
    next: NotRequired[str]
    why: NotRequired[str]


def run_status(run: RunDir) -> list[StageStatus]:
    """Returns the state of each stage, and of each evaluation; reads every recorded file."""
    return [row for stage in Stage for row in _rows(run, stage)]


def _rows(run: RunDir, stage: Stage) -> list[StageStatus]:
    """Returns one row per stage, for `eval` one per evaluation."""
    if stage is not Stage.EVAL or not run.folder(stage).is_dir():
        return [_row(run, stage, stage.value)]
    # Evaluations lie one folder deeper, each with its own manifest.
    names = sorted(p.name for p in run.folder(stage).iterdir() if not p.name.startswith("."))
    rows = [_row(run, f"{stage}/{name}", f"{stage}/{name}") for name in names]
    return rows or [_row(run, stage, stage.value) | {"state": "missing"}]


def _row(run: RunDir, folder: str, label: str) -> StageStatus:
    row: StageStatus = {
        "stage": label,
        "state": "missing",
        "finished": None,
        "seconds": None,
        "what": "",
    }
    try:
        manifest = run.manifest(folder)
        if manifest is None:
            row["state"] = "unfinished" if exists(run.folder(folder)) else "missing"
            row["what"] = _describe_unfinished(run.folder(folder))
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
    """Returns the first plain counts of a manifest in one line; 0 only of what needs a record."""
    plain = [
        counted(value, _OF_ONE.get(name, name.removesuffix("s")), name)
        for name, value in counts.items()
        if isinstance(value, int) and (value or name in tuple(System))
    ]
    return ", ".join(plain[:4]).replace("_", " ")


def _describe_unfinished(folder: Path) -> str:
    """Returns how far a stage without a result came, and why it ended where it was not interrupted."""
    step, end = logged_to(folder), read_end(folder)
    parts = [] if step is None else [f"logged to step {step:,}"]
    return "; ".join(parts if end is None else [*parts, end["what"]])


def logged_to(folder: Path) -> int | None:
    """Returns the last step that a training has logged so far, None where it has logged none."""
    path = folder / Artifact.METRICS
    last = None
    if not exists(path):
        return None
    try:
        for _, line in read_jsonl(path):
            last = line.get("step", last)
    except LoraparError:
        # What a machine was writing when its power went: the steps before it count.
        pass
    return last if isinstance(last, int) else None
