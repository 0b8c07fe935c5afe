"""Folders that are named after everything that their content depends on, and found again by it.

What a folder depends on stands in a file beside it. A later version of lorapar, which has further
options, gives the same content another name; it finds the folder by comparing the values, where an
option that did not exist then counts as in any manifest.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lorapar_cli.comparison.cells import canonical
from lorapar_cli.errors import LoraparError
from lorapar_cli.options import Options, options_of
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.disk.regular_files import read_json
from lorapar_cli.store.manifest import sha256_file

Depends = Mapping[str, Any]
Filled = Callable[[dict[str, Any]], Any]
_SUFFIX = ".json"


def digest_of(value: Any) -> str:
    """Returns 16 hex digits that stand for a value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def find_folder(parent: Path, depends: Depends, filled: Filled, prefix: str = "") -> Path:
    """Returns the folder of what depends on these values, or the one that it is to have.

    Args:
        filled: Returns values read from a file with those of all options that they lack, and
            without what does not decide.
        prefix: Of the folder's name, before the digest.

    Raises:
        LoraparError: A file of values is damaged.
    """
    own = parent / f"{prefix}{digest_of(depends)}"
    if own.exists() or not parent.is_dir():
        return own
    wanted = canonical(filled(json.loads(canonical(depends))))
    for path in sorted(parent.glob(f"{prefix}*{_SUFFIX}")):
        if path.with_suffix("").exists() and _read(path, filled) == wanted:
            return path.with_suffix("")
    return own


def _read(path: Path, filled: Filled) -> str:
    recorded = read_json(path)
    try:
        return canonical(filled(dict(recorded)))
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise LoraparError(
            f"`{path}` is damaged",
            f"it does not say what `{path.stem}` depends on",
            "remove the file and the folder of that name, which is made again if it is needed",
        ) from cause


def write_dependencies(folder: Path, depends: Depends) -> None:
    """Writes what a folder depends on beside it, unless it is there."""
    path = folder.with_name(folder.name + _SUFFIX)
    if not path.is_file():
        with atomic_file(path) as file:
            file.write(canonical(depends) + "\n")


def is_file(part: str | Path) -> bool:
    """Returns whether a value names a file that is there."""
    try:
        return Path(part).is_file()
    except (OSError, ValueError):
        return False  # Too long for a path, or with a character that none has.


def digests_of_files(options: Options) -> dict[str, str]:
    """Returns path -> sha256 of the files that values of options name."""
    found = {}
    for each in options_of(type(options)):
        value = getattr(options, each.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, str | Path) and is_file(part):
                found[str(part)] = sha256_file(Path(part))
    return found
