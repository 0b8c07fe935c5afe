"""Is a result still that of its inputs: what stages record of files, and when they do nothing.

Manifests record inputs inside the run directory relative to it, so that a copied or moved run is
judged by its own files, and other files by their absolute path.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from lorapar_cli.errors import LoraparError
from lorapar_cli.options import Options, fill_defaults
from lorapar_cli.store.disk.digests import sha256_file
from lorapar_cli.store.disk.regular_files import UnreadableError, exists, require_regular
from lorapar_cli.store.manifest import (
    Deciding,
    Manifest,
    Outcome,
    read_manifest,
    run_root,
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


class PendingInputs:
    """Inputs that are read and checked in a thread, next to work that reads them too.

    Large ones cost no time then: the work is longer, and hashing needs no interpreter.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        for path in paths.values():
            require_regular(path)
        pool = ThreadPoolExecutor(1)
        self._described = pool.submit(describe_inputs, paths)
        pool.shutdown(wait=False)

    def result(self) -> Inputs:
        """Returns what `describe_inputs` does, once it is known.

        Raises:
            LoraparError: As of `describe_inputs`.
        """
        return self._described.result()


@contextmanager
def checking(paths: Mapping[str, Path]) -> Iterator[PendingInputs]:
    """Checks input files while the block works on them.

    Raises:
        LoraparError: As of `describe_inputs`, also in place of an error of the block: what is wrong
            with a file explains what was wrong with the work. The block must not publish anything
            before it has the `result`.
    """
    pending = PendingInputs(paths)
    try:
        yield pending
    except Exception:
        pending.result()
        raise


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
    folder: Path,
    settings: dict[str, Any],
    inputs: Inputs | PendingInputs,
    deciding: Deciding = dict,
    kind: type[Options] = Options,
) -> Outcome | None:
    """Returns the finished result of these settings and inputs, None where `folder` has none.

    Inputs are compared by content, not by path; every output must be what the stage wrote. A result
    that is older than an option counts as made with the option's default, and is returned so.

    Args:
        inputs: Pending ones are waited for only if there is a result of these settings.
        deciding: Returns those of the settings that the result depends on.
        kind: The stage's options.

    Raises:
        LoraparError: As of pending inputs.
        UnreadableError: There is a result, and it may not be read.
    """
    try:
        manifest = read_manifest(folder)
    except UnreadableError:
        raise
    except LoraparError:
        return None  # What cannot be read is made again; training asks for `--overwrite` first.
    if manifest is None:
        return None
    manifest.settings = fill_defaults(manifest.settings, kind, settings)
    if deciding(manifest.settings) != deciding(json.loads(json.dumps(settings))):
        return None
    current = inputs.result() if isinstance(inputs, PendingInputs) else inputs
    if {k: v["sha256"] for k, v in manifest.inputs.items()} != {
        k: v["sha256"] for k, v in current.items()
    }:
        return None
    if any(find_damage(folder, manifest)):
        return None
    return Outcome(folder, manifest, fresh=False)
