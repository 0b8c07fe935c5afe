"""Folders of training runs: unfinished runs resume, finished ones are replaced only on request.

A first run works in the stage folder itself, where its checkpoints and metrics can be watched. A
run that will replace a finished result works in a folder next to it until it is finished too.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact
from lorapar_cli.store.atomic import (
    atomic_file,
    building_folder,
    publish_folder,
    recover,
)
from lorapar_cli.store.checkpoints import last_checkpoint
from lorapar_cli.store.disk.regular_files import read_json
from lorapar_cli.store.manifest import Deciding, Manifest, read_manifest, write_manifest

UNFINISHED = "unfinished.json"


def open_working_folder(
    folder: Path, manifest: Manifest, overwrite: bool, deciding: Deciding = dict
) -> Path:
    """Returns the folder to train in, where an unfinished run of the same settings resumes.

    Args:
        deciding: Returns those of the settings that the result depends on.

    Raises:
        LoraparError: A finished result, or an unfinished run with checkpoints, was made with other
            settings or inputs, and `overwrite` was not given; or the folder contains something
            else.
    """
    recover(folder)
    finished = _read_finished(folder, overwrite)
    if finished is not None and finished.stage != manifest.stage:
        raise LoraparError(
            f"`{folder}` contains a result of `{finished.stage}`",
            hint="name a new folder with `--out`",
        )
    if finished is not None and not overwrite:
        raise LoraparError(
            f"`{folder}` contains a result of other settings or inputs",
            _differences(finished, manifest, deciding),
            "give `--overwrite` to train again (the old result is kept until the new one is done)",
        )
    work = folder if finished is None else building_folder(folder)
    if work == folder and not _is_ours(folder):
        raise LoraparError(
            f"`{folder}` is not empty and does not contain a training run",
            hint="name a new or empty folder with `--out`",
        )
    identity = {
        "settings": deciding(json.loads(json.dumps(manifest.settings))),
        "inputs": {name: described["sha256"] for name, described in manifest.inputs.items()},
    }
    unfinished = _read_identity(work)
    if unfinished == identity:
        return work
    if unfinished is not None and last_checkpoint(work)[0] and not overwrite:
        raise LoraparError(
            f"`{work}` contains an unfinished run with other settings or inputs",
            hint="repeat that run's command to resume it, or give `--overwrite` to start over",
        )
    _clear(work)
    with atomic_file(work / UNFINISHED) as file:
        json.dump(identity, file, indent=2)
    return work


def _read_finished(folder: Path, overwrite: bool) -> Manifest | None:
    """Returns the manifest of a finished run, None where there is none or where it is to go.

    Raises:
        LoraparError: It cannot be read, and `overwrite` was not given.
    """
    try:
        return read_manifest(folder)
    except LoraparError as cause:
        if overwrite:
            (folder / UNFINISHED).touch()
            return None
        raise LoraparError(
            f"`{folder}` contains a result that cannot be read",
            cause.found or cause.what,
            "restore its manifest, or give `--overwrite` to train again",
        ) from cause


def _is_ours(folder: Path) -> bool:
    """Returns whether a folder without a manifest may be cleared: it is empty, or a run's own."""
    if not folder.exists():
        return True
    return folder.is_dir() and ((folder / UNFINISHED).is_file() or not any(folder.iterdir()))


def _clear(work: Path) -> None:
    """Empties a working folder; the file that marks it as one stays until it is replaced."""
    work.mkdir(parents=True, exist_ok=True)
    for path in work.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != UNFINISHED:
            path.unlink()


def _read_identity(work: Path) -> Any:
    """Returns what an unfinished run was started with, None where there is no such run."""
    try:
        return read_json(work / UNFINISHED)
    except LoraparError:
        return None


def _differences(old: Manifest, new: Manifest, deciding: Deciding) -> str:
    now, then = json.loads(json.dumps(asdict(new))), asdict(old)
    now["settings"], then["settings"] = deciding(now["settings"]), deciding(then["settings"])
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
    """Writes the manifest of a finished run, then puts the run in the place of an earlier result."""
    written = write_manifest(work, manifest, skip=(Artifact.CHECKPOINTS, UNFINISHED))
    if work != folder:
        publish_folder(work, folder)
    # Last: until the run is in its place, a kill must leave one that can resume.
    (folder / UNFINISHED).unlink()
    return written
