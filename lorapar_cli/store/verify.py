"""Is a file still the one that its stage wrote: held against the sha256 in the stage's manifest."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact
from lorapar_cli.plurals import counted
from lorapar_cli.store.disk.digests import sha256_file
from lorapar_cli.store.disk.regular_files import (
    UnreadableError,
    exists,
    open_regular,
    read_json,
)
from lorapar_cli.store.manifest import Manifest, read_manifest

# `<stage>/adapter/adapter_model.safetensors` is the deepest file that a stage writes.
_DEPTH = 2
# Other programs write files of the name `manifest.json` too; they have none of these keys.
_OWN_KEYS = {"stage", "settings", "outputs", "lorapar_version"}


@dataclass(frozen=True)
class Damage:
    """A file that is not what its stage wrote.

    Attributes:
        name: Path inside the stage folder.
        found: What is wrong, in a few words.
    """

    name: str
    found: str


def find_damage(
    folder: Path, manifest: Manifest, names: Iterable[str] | None = None
) -> Iterator[Damage]:
    """Yields the outputs of a stage folder that are missing or differ from its manifest.

    Args:
        names: Those to look at; None for all.

    Raises:
        UnreadableError: One cannot be read: nobody knows whether it is damaged.
    """
    for name in manifest.outputs if names is None else names:
        described = manifest.outputs[name]
        if found := _compare(folder / name, described["bytes"], described["sha256"]):
            yield Damage(name, found)


def _compare(path: Path, wanted: int, digest: str) -> str | None:
    """Returns what is wrong with a file of this size and sha256, None where nothing is."""
    if not exists(path):
        return "is missing"
    try:
        with open_regular(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
    except UnreadableError:
        raise
    except LoraparError:
        return "is not a file"
    if size != wanted:
        return f"has {counted(size, 'byte')}, not {wanted:,}"
    return None if sha256_file(path) == digest else "has other contents"


def writer_of(path: Path) -> tuple[Path, Manifest, str] | None:
    """Returns the stage folder that a file was written to, its manifest, and its name in there.

    None for a file that no manifest speaks of, such as the user's own.
    """
    absolute = path.absolute()
    for folder in list(absolute.parents)[:_DEPTH]:
        manifest = _manifest_of(folder)
        name = absolute.relative_to(folder).as_posix()
        if manifest is not None and name in manifest.outputs:
            return folder, manifest, name
    return None


def _manifest_of(folder: Path) -> Manifest | None:
    """Returns the manifest of a stage folder; None where there is none, or another program's.

    Raises:
        LoraparError: There is one, or what damage has left of it.
    """
    try:
        return read_manifest(folder)
    except UnreadableError:
        raise
    except LoraparError:
        if _is_of_another_program(folder / Artifact.MANIFEST):
            return None
        raise


def _is_of_another_program(path: Path) -> bool:
    try:
        content = read_json(path)
    except LoraparError:
        return False
    return isinstance(content, dict) and not content.keys() & _OWN_KEYS


def check_written(path: Path, digest: str | None = None) -> None:
    """Checks that a file is the one that a stage wrote, where a stage wrote it.

    Args:
        digest: The file's sha256, where it is known already.

    Raises:
        LoraparError: It was damaged or replaced.
    """
    found = writer_of(path)
    if found is None:
        return
    folder, manifest, name = found
    if digest is not None and digest == manifest.outputs[name]["sha256"]:
        return
    damage = list(find_damage(folder, manifest, [name]))
    if digest is not None and not damage:
        damage = [Damage(name, "has other contents")]
    if not damage:
        return
    if _manifest_of(folder) != manifest:
        # The whole result was replaced in between: the new one speaks of the new file.
        check_written(path)
        return
    raise damaged(folder, manifest, damage)


def check_folder(folder: Path) -> None:
    """Checks every file that a stage wrote into a folder inside its own, such as an adapter.

    Raises:
        LoraparError: One was damaged, replaced or removed.
    """
    stage_folder = folder.absolute().parent
    manifest = _manifest_of(stage_folder)
    if manifest is None:
        return
    names = [name for name in manifest.outputs if name.startswith(f"{folder.name}/")]
    if damage := list(find_damage(stage_folder, manifest, names)):
        if _manifest_of(stage_folder) != manifest:
            check_folder(folder)
            return
        raise damaged(stage_folder, manifest, damage)


def damaged(folder: Path, manifest: Manifest, damage: list[Damage]) -> LoraparError:
    """Returns the error for files that are not what their stage wrote."""
    return LoraparError(
        f"`{folder / damage[0].name}` is not the file that `{manifest.stage}` wrote",
        "\n".join(f"`{each.name}` {each.found}" for each in damage),
        f"restore the file, or run `lorapar {manifest.stage}` again",
    )
