"""Folders of training runs: unfinished ones resume, finished ones are not thrown away unasked.

A first run works in the stage folder itself, so that its checkpoints and metrics can be watched
there; a run that will replace a finished result works beside it until it is finished too.
"""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.manifest import Manifest, read_manifest, write_manifest
from lorapar_cli.store.publish import atomic_file, building_folder, publish_folder, recover
from lorapar_cli.store.records import parse_line

UNFINISHED = "unfinished.json"
CHECKPOINTS = "checkpoints"
_COMPLETE = "complete"


def open_working_folder(folder: Path, manifest: Manifest, overwrite: bool) -> Path:
    """Returns the folder to train in; an unfinished run of the same settings goes on there.

    Raises:
        LoraparError: A finished result, or an unfinished run with checkpoints, was made with other
            settings or inputs, and `overwrite` was not given.
    """
    recover(folder)
    finished = read_manifest(folder)
    if finished is not None and not overwrite:
        raise LoraparError(
            f"`{folder}` holds a result of other settings or inputs",
            _differences(finished, manifest),
            "give `--overwrite` to train again (the old result stays until the new one is done)",
        )
    work = folder if finished is None else building_folder(folder)
    identity = {
        "settings": json.loads(json.dumps(manifest.settings)),
        "inputs": {name: described["sha256"] for name, described in manifest.inputs.items()},
    }
    unfinished = _read_identity(work)
    if unfinished == identity:
        return work
    if unfinished is not None and last_checkpoint(work) and not overwrite:
        raise LoraparError(
            f"`{work}` holds an unfinished run with other settings or inputs",
            hint="repeat that run's command to resume it, or give `--overwrite` to start anew",
        )
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    with atomic_file(work / UNFINISHED) as file:
        json.dump(identity, file, indent=2)
    return work


def _read_identity(work: Path) -> dict | None:
    try:
        return json.loads((work / UNFINISHED).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _differences(old: Manifest, new: Manifest) -> str:
    now, then = json.loads(json.dumps(asdict(new))), asdict(old)
    lines = [
        f"`{name}` was {then['settings'].get(name)}, is {now['settings'].get(name)}"
        for name in sorted(now["settings"].keys() | then["settings"].keys())
        if now["settings"].get(name) != then["settings"].get(name)
    ]
    lines += [
        f"input `{name}` has changed"
        for name in sorted(now["inputs"].keys() | then["inputs"].keys())
        if now["inputs"].get(name, {}).get("sha256") != then["inputs"].get(name, {}).get("sha256")
    ]
    return "\n".join(lines) or "its files are damaged"


def finish_working_folder(work: Path, folder: Path, manifest: Manifest) -> Manifest:
    """Publishes a finished run: the manifest last, then in place of an earlier result."""
    written = write_manifest(work, manifest, skip=(CHECKPOINTS, UNFINISHED))
    (work / UNFINISHED).unlink()
    if work != folder:
        publish_folder(work, folder)
    return written


def mark_complete(checkpoint: Path) -> None:
    """Marks a checkpoint folder whose every file has been written."""
    with atomic_file(checkpoint / _COMPLETE) as file:
        file.write("\n")


def last_checkpoint(work: Path) -> Path | None:
    """Returns the newest complete checkpoint and removes those that a kill left half-written."""
    complete = []
    for path in (work / CHECKPOINTS).glob("checkpoint-*"):
        if (path / _COMPLETE).exists():
            complete.append((int(path.name.rsplit("-", 1)[1]), path))
        else:
            shutil.rmtree(path, ignore_errors=True)
    return max(complete)[1] if complete else None


class StepLog:
    """A JSON Lines file that grows with training; going on from a step drops what came after.

    Args:
        path: The file.
        resumed_step: Lines of later steps are of work that was lost, and are cut off.
    """

    def __init__(self, path: Path, resumed_step: int) -> None:
        self._path = path
        kept = []
        if path.exists() and resumed_step:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                try:
                    value = parse_line(line, path, number)
                except LoraparError:
                    break  # The last line of a killed run may be cut off.
                if value["step"] <= resumed_step:
                    kept.append(line + "\n")
        with atomic_file(path) as file:
            file.writelines(kept)

    def append(self, lines: list[dict]) -> None:
        """Adds lines, each with its `step`, and hands them to the system."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
