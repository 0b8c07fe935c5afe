"""A stage that was not finished, and files with one JSON object."""

from pathlib import Path
from typing import Any, Literal, TypedDict

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact
from lorapar_cli.store.checkpoints import read_mark
from lorapar_cli.store.disk.regular_files import exists, read_json
from lorapar_cli.store.resumable_folder import UNFINISHED
from lorapar_cli.store.verify import check_written


class UnfinishedReport(TypedDict):
    """A stage that was begun and is not finished.

    Keys:
        settings: That it was begun with.
        inputs: Name -> sha256.
        checkpoints: Folder -> whether it is complete.
        files: Name -> bytes, of its other files.
    """

    path: str
    kind: Literal["unfinished"]
    settings: dict[str, Any]
    inputs: dict[str, str]
    checkpoints: dict[str, bool]
    files: dict[str, int]


class ObjectReport(TypedDict):
    """A file with one JSON object that has no meaning of its own here.

    Keys:
        content: All of it.
    """

    path: str
    kind: Literal["object"]
    bytes: int
    content: dict[str, Any]


def inspect_unfinished(folder: Path) -> UnfinishedReport:
    """Returns what a stage was begun with, and how far it is.

    Raises:
        LoraparError: The record of its beginning is damaged.
    """
    record = folder / UNFINISHED
    content = read_json(record)
    parts = [content.get(key) if isinstance(content, dict) else None for key in _KEYS]
    settings, inputs = parts
    if not isinstance(settings, dict) or not isinstance(inputs, dict):
        raise LoraparError(f"`{record}` is damaged", "it has no settings and inputs")
    checkpoints = folder / Artifact.CHECKPOINTS
    found = sorted(checkpoints.iterdir(), key=_step) if checkpoints.is_dir() else []
    return {
        "path": str(folder),
        "kind": "unfinished",
        "settings": settings,
        "inputs": {name: str(digest) for name, digest in inputs.items()},
        "checkpoints": {each.name: _is_complete(each) for each in found if each.is_dir()},
        "files": {
            each.name: each.stat().st_size for each in sorted(folder.iterdir()) if each.is_file()
        },
    }


_KEYS = ("settings", "inputs")


def _step(checkpoint: Path) -> tuple[int, str]:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else -1, checkpoint.name


def _is_complete(checkpoint: Path) -> bool:
    try:
        read_mark(checkpoint)
    except LoraparError:
        return False
    return True


def is_unfinished(folder: Path) -> bool:
    """Returns whether a folder has the record of a stage's beginning, and no result."""
    return exists(folder / UNFINISHED) and not exists(folder / Artifact.MANIFEST)


def inspect_object(path: Path, content: dict[str, Any]) -> ObjectReport:
    """Returns the content of a JSON file.

    Raises:
        LoraparError: It is not what its stage wrote.
    """
    check_written(path)
    return {"path": str(path), "kind": "object", "bytes": path.stat().st_size, "content": content}
