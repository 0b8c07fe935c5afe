"""Is a result still that of its inputs: what stages record of files, and when they do nothing.

Manifests record inputs inside the run directory relative to it, so that a copied or moved run is
judged by its own files, and other files by their absolute path.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.regular_files import UnreadableError, exists
from lorapar_cli.store.manifest import (
    Deciding,
    Manifest,
    Outcome,
    read_manifest,
    run_root,
    sha256_file,
)
from lorapar_cli.store.verify import check_written, find_damage

Inputs = dict[str, dict[str, str]]
"""Name -> `path` and `sha256`; of what is not one file also `source`, which says what it is."""
Change = Literal["changed", "missing", "unreadable"]


def describe_inputs(paths: Mapping[str, Path]) -> Inputs:
    """Returns absolute path and sha256 of input files, each checked against the stage that wrote it.

    Raises:
        LoraparError: A file is missing, is not a regular file, or is not what its stage wrote.
    """
    described = {}
    for name, path in paths.items():
        digest = sha256_file(path)
        check_written(path, digest)
        described[name] = {"path": str(path.absolute()), "sha256": digest}
    return described


def find_changes(folder: Path, manifest: Manifest) -> dict[str, Change]:
    """Returns the inputs of a result that are no longer the files from which it was made.

    Args:
        folder: The stage folder that the manifest belongs to.
    """
    changes: dict[str, Change] = {}
    for name, described in manifest.inputs.items():
        if "source" in described:
            continue  # A hub data set, a folder or standard input: no file to compare.
        path = run_root(folder, manifest.stage) / described["path"]
        if (change := _compare(path, described["sha256"])) is not None:
            changes[name] = change
    return changes


def _compare(path: Path, digest: str) -> Change | None:
    try:
        if not exists(path):
            return "missing"
        return None if sha256_file(path) == digest else "changed"
    except UnreadableError:
        return "unreadable"
    except LoraparError:
        return "changed"  # It was a file; it is a folder, a link in vain, or the like.


def reuse(
    folder: Path, settings: dict[str, Any], inputs: Inputs, deciding: Deciding = dict
) -> Outcome | None:
    """Returns the finished result of these settings and inputs, None where `folder` has none.

    Inputs are compared by content, not by path; every output must be what the stage wrote.

    Args:
        deciding: Returns those of the settings that the result depends on.

    Raises:
        UnreadableError: There is a result, and it may not be read.
    """
    try:
        manifest = read_manifest(folder)
    except UnreadableError:
        raise
    except LoraparError:
        return None  # What cannot be read is made again; training asks for `--overwrite` first.
    wanted = deciding(json.loads(json.dumps(settings)))
    if manifest is None or deciding(manifest.settings) != wanted:
        return None
    if {k: v["sha256"] for k, v in manifest.inputs.items()} != {
        k: v["sha256"] for k, v in inputs.items()
    }:
        return None
    if any(find_damage(folder, manifest)):
        return None
    return Outcome(folder, manifest, fresh=False)
