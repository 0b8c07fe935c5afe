"""What brings a run further: the next command, and what to know where the bare one would not work."""

import shlex
from dataclasses import dataclass

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage, System
from lorapar_cli.options import as_recorded, options_of
from lorapar_cli.store.disk.regular_files import read_json
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.store.resumable_folder import UNFINISHED, read_end
from lorapar_cli.store.run_dir import COMMANDS, MORE_LABELS, RunDir
from lorapar_cli.tools.run_results import STAGE_OPTIONS
from lorapar_cli.tools.run_status import StageStatus
from lorapar_cli.tools.sharing.commands import repeated_command

# These never replace a result unasked.
_KEPT = (Stage.TRAIN_SFT, Stage.TRAIN_RL)
# What a stage takes of `classify`, as its counts name it.
_READS = {
    Stage.SCORE: tuple(System),
    Stage.TRAIN_SFT: (System.SYSTEM1,),
    Stage.TRAIN_RL: (System.SYSTEM2,),
}
_HELD_OUT = "heldout"


@dataclass(frozen=True)
class NextStep:
    """What to type next.

    Attributes:
        why: A sentence for whoever would not expect this command; empty where there is none.
    """

    command: str
    why: str = ""


def rows_with_next(rows: list[StageStatus], step: NextStep) -> list[StageStatus]:
    """Returns the rows of a run with what to type next: the first that is not done has it, or the last."""
    at = next((n for n, row in enumerate(rows) if row["state"] != "done"), len(rows) - 1)
    named: list[StageStatus] = [{**row} for row in rows]
    named[at]["next"] = step.command
    if step.why:
        named[at]["why"] = step.why
    return named


def next_step(run: RunDir, rows: list[StageStatus]) -> NextStep | None:
    """Returns what brings the run further, None where every stage is done."""
    row = next((row for row in rows if row["state"] != "done"), None)
    if row is None:
        return None
    stage, _, name = row["stage"].partition("/")
    step = _of_row(run, Stage(stage), name, row)
    return NextStep(f"{step.command} --run-dir {shlex.quote(str(run.root))}", step.why)


def _of_row(run: RunDir, stage: Stage, name: str, row: StageStatus) -> NextStep:
    manifest = _manifest(run, row["stage"])
    elsewhere = manifest is not None and not {"data", "splits"}.isdisjoint(manifest.given)
    if not elsewhere and (instead := _without_records(run, stage)) is not None:
        return instead
    if manifest is None and stage in _KEPT:
        manifest = _begun_with(run, stage)
    # Addresses of teachers are in no manifest.
    if manifest is None or stage is Stage.CLASSIFY:
        command = COMMANDS[stage]
    else:
        command = repeated_command(manifest, run.root)
    if name and name != _HELD_OUT:
        command += f" --name {shlex.quote(name)}"
    unfinished = row["state"] == "unfinished"
    end = read_end(run.folder(stage)) if unfinished and stage in _KEPT else None
    if stage in _KEPT and (end is not None or row["finished"] is not None):
        command += " --overwrite"
    if end is not None:
        return NextStep(command, f"with these options it ends in that way again; {end['hint']}")
    why = "with the options that it was begun with, the unfinished stage resumes"
    return NextStep(command, why if unfinished else "")


def _manifest(run: RunDir, folder: str) -> Manifest | None:
    """Returns a manifest, None where there is none or it is damaged, which the row says."""
    try:
        return run.manifest(folder)
    except LoraparError:
        return None


def _begun_with(run: RunDir, stage: Stage) -> Manifest | None:
    """Returns what an unfinished training was begun with, options that differ from their defaults as given.

    None where nothing says so. The base model is the run's, which no command has to name.
    """
    try:
        record = read_json(run.folder(stage) / UNFINISHED)
    except LoraparError:
        return None
    settings = record.get("settings") if isinstance(record, dict) else None
    if not isinstance(settings, dict):
        return None
    given = [
        each.name
        for each in options_of(STAGE_OPTIONS[stage])
        if each.name in settings
        and each.name != "model"
        and settings[each.name] != as_recorded(each.default)
    ]
    return Manifest(stage, settings, given)


def _without_records(run: RunDir, stage: Stage) -> NextStep | None:
    """Returns what to do where `classify` left nothing for a stage, None where it did."""
    labelled = _manifest(run, Stage.CLASSIFY)
    counts = {} if labelled is None else labelled.counts
    for system in _READS.get(stage, ()):
        if counts.get(system) == 0:
            return NextStep(
                COMMANDS[Stage.CLASSIFY],
                f"no record is {system}, and `{stage}` needs some: {MORE_LABELS}",
            )
    if stage is Stage.EVAL and counts.get(_HELD_OUT) == 0:
        return NextStep(f"{COMMANDS[stage]} --data YOURS.jsonl", "no records are held out")
    return None
