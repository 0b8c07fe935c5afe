"""Folders of training runs: unfinished runs resume, finished ones are replaced only on request.

A first run works in the stage folder itself, where its checkpoints and metrics can be watched. A
run that will replace a finished result works in a folder next to it until it is finished too.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact
from lorapar_cli.options import Options, fill_defaults
from lorapar_cli.store.atomic import (
    atomic_file,
    building_folder,
    publish_folder,
    recover,
)
from lorapar_cli.store.checkpoints import has_checkpoint
from lorapar_cli.store.disk.links import real_folder
from lorapar_cli.store.disk.regular_files import UnreadableError, exists, read_json, remove
from lorapar_cli.store.manifest import Deciding, Manifest, read_manifest, write_manifest
from lorapar_cli.store.verify import find_damage

UNFINISHED_PREFIX = "unfinished"
"""What the names begin with of files that are not part of a result."""
UNFINISHED = f"{UNFINISHED_PREFIX}.json"
_ENDED = f"{UNFINISHED_PREFIX}-ended.json"
_OWN_NAMES = {UNFINISHED, *Artifact}


def open_working_folder(
    folder: Path,
    manifest: Manifest,
    overwrite: bool,
    deciding: Deciding = dict,
    kind: type[Options] = Options,
) -> Path:
    """Returns the folder to train in, where an unfinished run of the same settings resumes.

    A run that is older than an option counts as started with the option's default.

    Args:
        manifest: A sentence is added to its notes if the record of the unfinished run was damaged.
        deciding: Returns those of the settings that the result depends on.
        kind: The stage's options.

    Raises:
        LoraparError: A finished result, or an unfinished run with checkpoints, was made with other
            settings or inputs, and `overwrite` was not given; or the folder contains something
            else.
    """
    folder = real_folder(folder)
    recover(folder)
    finished = _read_finished(folder, overwrite)
    if finished is not None and (finished.stage != manifest.stage or not overwrite):
        raise _of_a_finished_run(folder, finished, manifest, deciding, kind)
    work = folder if finished is None else building_folder(folder)
    identity = _identity(manifest, deciding)
    digest = identity_digest(manifest, deciding)
    unfinished, damage = _read_identity(work)
    same = _is_same(unfinished, identity, kind)
    ours = not same and has_checkpoint(work, digest)
    if ours:
        manifest.notes.append(f"`{UNFINISHED}` {damage or 'was damaged'} and was restored")
    elif work == folder and not _is_ours(folder):
        raise LoraparError(
            f"`{folder}` is not empty and does not contain a run of `{manifest.stage}`",
            hint="name a new or empty folder with `--out`",
        )
    elif not same:
        if has_checkpoint(work) and not overwrite:
            raise _of_another_run(work, damage)
        if damage and any(path.name != UNFINISHED for path in work.iterdir()):
            manifest.notes.append(f"`{UNFINISHED}` {damage}: the run was started over")
        elif unfinished is None and exists(work) and any(work.glob(f"{UNFINISHED_PREFIX}*")):
            manifest.notes.append(f"`{UNFINISHED}` was missing: the run was started over")
        _clear(work)
    if not same:
        _write_identity(work, identity)
    for path in (*_leftovers(work), work / _ENDED):
        remove(path)
    return work


def note_end(work: Path, error: LoraparError) -> None:
    """Keeps in a working folder why its run ended, where resuming it would end it so again."""
    with atomic_file(work / _ENDED) as file:
        json.dump({"what": error.what, "hint": error.hint}, file, ensure_ascii=False)


def read_end(folder: Path) -> dict[str, str] | None:
    """Returns why an unfinished run ended, as `what` and `hint`; None where it was only interrupted."""
    path = folder / _ENDED
    if not exists(path):
        return None
    try:
        content = read_json(path)
    except UnreadableError:
        raise
    except LoraparError:
        content = None
    if not isinstance(content, dict):
        return None
    return {name: str(content.get(name) or "") for name in ("what", "hint")}


def _identity(manifest: Manifest, deciding: Deciding) -> dict[str, Any]:
    """Returns what a run was started with, and what it must have been to be resumed."""
    return {
        "settings": deciding(json.loads(json.dumps(manifest.settings))),
        "inputs": {name: described["sha256"] for name, described in manifest.inputs.items()},
    }


def _is_same(unfinished: Any, identity: dict[str, Any], kind: type[Options]) -> bool:
    """Returns whether what an unfinished run was started with is `identity`, or older and the same."""
    if not isinstance(unfinished, dict) or not isinstance(unfinished.get("settings"), dict):
        return False
    settings = fill_defaults(unfinished["settings"], kind, identity["settings"])
    return unfinished | {"settings": settings} == identity


def identity_digest(manifest: Manifest, deciding: Deciding = dict) -> str:
    """Returns the hex sha256 of the settings and inputs of a run, by which its checkpoints know it.

    Args:
        deciding: Returns those of the settings that the result depends on.
    """
    return _digest(_identity(manifest, deciding))


def run_digest(
    work: Path, manifest: Manifest, deciding: Deciding = dict, kind: type[Options] = Options
) -> str:
    """Returns the same of the run in a working folder, which may be older than some options.

    Args:
        deciding: Returns those of the settings that the result depends on.
        kind: The stage's options.
    """
    identity = _identity(manifest, deciding)
    unfinished, _ = _read_identity(work)
    return _digest(unfinished if _is_same(unfinished, identity, kind) else identity)


def _digest(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _of_a_finished_run(
    folder: Path, finished: Manifest, manifest: Manifest, deciding: Deciding, kind: type[Options]
) -> LoraparError:
    if finished.stage != manifest.stage:
        return LoraparError(
            f"`{folder}` contains a result of `{finished.stage}`",
            hint="name a new folder with `--out`",
        )
    hint = "give `--overwrite` to train again (the old result is kept until the new one is done)"
    if differences := _differences(finished, manifest, deciding, kind):
        what = f"`{folder}` contains a result of other settings or inputs"
        return LoraparError(what, differences, hint)
    damage = "\n".join(f"`{each.name}` {each.found}" for each in find_damage(folder, finished))
    return LoraparError(f"`{folder}` contains a result whose files are damaged", damage, hint)


def _of_another_run(work: Path, damage: str | None) -> LoraparError:
    if damage:
        return LoraparError(
            f"`{work / UNFINISHED}` {damage}",
            "the checkpoints next to it were saved with other settings or inputs",
            "repeat the command that they were saved by, or give `--overwrite` to start over",
        )
    return LoraparError(
        f"`{work}` contains an unfinished run with other settings or inputs",
        hint="repeat that run's command to resume it, or give `--overwrite` to start over",
    )


def _write_identity(work: Path, identity: dict[str, Any]) -> None:
    path = work / UNFINISHED
    if path.is_dir():
        remove(path)
    with atomic_file(path) as file:
        json.dump(identity, file, indent=2)


def _leftovers(work: Path) -> Iterator[Path]:
    """Yields what kills have left of files that were being written."""
    return work.rglob(".*.tmp")


def _read_finished(folder: Path, overwrite: bool) -> Manifest | None:
    """Returns the manifest of a finished run, None where there is none or where it is to go.

    Raises:
        LoraparError: It cannot be read, and `overwrite` was not given or the folder holds files
            that no run writes.
    """
    try:
        return read_manifest(folder)
    except UnreadableError:
        raise
    except LoraparError as cause:
        if overwrite and {path.name for path in folder.iterdir()} <= _OWN_NAMES:
            _clear(folder)
            (folder / UNFINISHED).unlink(missing_ok=True)
            return None
        raise LoraparError(
            f"`{folder}` contains a result that cannot be read",
            cause.found or cause.what,
            "name a new folder with `--out`"
            if overwrite
            else "restore its manifest, or give `--overwrite` to train again",
        ) from cause


def _is_ours(folder: Path) -> bool:
    """Returns whether a folder without a manifest may be cleared: it is empty, or a run's own."""
    if not exists(folder):
        return True
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()} - {path.name for path in _leftovers(folder)}
    return not names or any(name.startswith(UNFINISHED_PREFIX) for name in names)


def _clear(work: Path) -> None:
    """Empties a working folder; the file that marks it as one stays until it is replaced."""
    work.mkdir(parents=True, exist_ok=True)
    for path in work.iterdir():
        if path.name != UNFINISHED:
            remove(path)


def _read_identity(work: Path) -> tuple[Any, str | None]:
    """Returns what an unfinished run was started with, and what is wrong with the record of it.

    Both are None where there is no such run.
    """
    path = work / UNFINISHED
    if not exists(path):
        return None, "was missing" if has_checkpoint(work) else None
    try:
        return read_json(path), None
    except UnreadableError:
        raise
    except LoraparError:
        return None, "was damaged"


def _differences(old: Manifest, new: Manifest, deciding: Deciding, kind: type[Options]) -> str:
    now, then = json.loads(json.dumps(asdict(new))), asdict(old)
    then["settings"] = fill_defaults(then["settings"], kind, now["settings"])
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
    return "\n".join(lines)


def finish_working_folder(work: Path, folder: Path, manifest: Manifest) -> Manifest:
    """Writes the manifest of a finished run, then puts the run in the place of an earlier result.

    Raises:
        LoraparError: Somebody has removed the working folder in between, and with it other files.
    """
    if not exists(work / UNFINISHED):
        raise LoraparError(
            f"`{work}` was removed or replaced while this command worked in it",
            hint="run the same command again",
        )
    written = write_manifest(
        work, manifest, (Artifact.CHECKPOINTS, UNFINISHED_PREFIX), target=folder
    )
    place = real_folder(folder)
    if work != place:
        publish_folder(work, place)
    # Last: until the run is in its place, a kill must leave one that can resume.
    for path in [*place.glob(f"{UNFINISHED_PREFIX}-*"), place / UNFINISHED]:
        path.unlink()
    return written
