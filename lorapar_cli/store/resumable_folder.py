"""Folders of training runs: unfinished ones resume, finished ones are not thrown away unasked.

A first run works in the stage folder itself, so that its checkpoints and metrics can be watched
there; a run that will replace a finished result works beside it until it is finished too.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.atomic import (
    atomic_file,
    building_folder,
    publish_folder,
    recover,
)
from lorapar_cli.store.checkpoints import CHECKPOINTS, last_checkpoint
from lorapar_cli.store.manifest import Deciding, Manifest, read_manifest, write_manifest

UNFINISHED = "unfinished.json"


def open_working_folder(
    folder: Path, manifest: Manifest, overwrite: bool, deciding: Deciding = dict
) -> Path:
    """Returns the folder to train in; an unfinished run of the same settings goes on there.

    Args:
        deciding: Returns those of the settings that the result depends on.

    Raises:
        LoraparError: A finished result, or an unfinished run with checkpoints, was made with other
            settings or inputs, and `overwrite` was not given; or the folder holds something else.
    """
    recover(folder)
    finished = read_manifest(folder)
    if finished is not None and finished.stage != manifest.stage:
        raise LoraparError(
            f"`{folder}` holds a result of `{finished.stage}`",
            hint="name a new folder with `--out`",
        )
    if finished is not None and not overwrite:
        raise LoraparError(
            f"`{folder}` holds a result of other settings or inputs",
            _differences(finished, manifest, deciding),
            "give `--overwrite` to train again (the old result stays until the new one is done)",
        )
    work = folder if finished is None else building_folder(folder)
    if work == folder and not _is_ours(folder):
        raise LoraparError(
            f"`{folder}` is not empty and holds no training run",
            hint="name a new or empty folder with `--out`",
        )
    identity = {
        "settings": deciding(json.loads(json.dumps(manifest.settings))),
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
    _clear(work)
    with atomic_file(work / UNFINISHED) as file:
        json.dump(identity, file, indent=2)
    return work


def _is_ours(folder: Path) -> bool:
    """Returns whether a folder without a manifest may be cleared: a run's own, or empty."""
    if not folder.exists():
        return True
    return folder.is_dir() and ((folder / UNFINISHED).is_file() or not any(folder.iterdir()))


def _clear(work: Path) -> None:
    """Empties a working folder; what marks it as one stays until its successor is written."""
    work.mkdir(parents=True, exist_ok=True)
    for path in work.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != UNFINISHED:
            path.unlink()


def _read_identity(work: Path) -> dict | None:
    try:
        return json.loads((work / UNFINISHED).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
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
    """Publishes a finished run: the manifest last, then in place of an earlier result."""
    written = write_manifest(work, manifest, skip=(CHECKPOINTS, UNFINISHED))
    if work != folder:
        publish_folder(work, folder)
    # Last: until a run is in its place, a kill must leave one that can go on.
    (folder / UNFINISHED).unlink()
    return written
