"""`manifest.json`: settings and inputs of a stage, its results, and the machine it ran on.

It is written last, so a stage folder without one is unfinished.
"""

import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict, TypeVar, get_type_hints

from lorapar_cli import __version__
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import SCHEMA_VERSION, Artifact, Stage
from lorapar_cli.stage_records.mismatch import find_mismatch
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.disk.digests import sha256_file
from lorapar_cli.store.disk.regular_files import exists, read_json
from lorapar_cli.text_safety import escape_json

Deciding = Callable[[dict[str, Any]], dict[str, Any]]
"""Returns those of a stage's settings that its result depends on."""
Record = TypeVar("Record")
LIBRARIES = ("torch", "transformers", "peft", "trl", "datasets", "accelerate", "safetensors")


def now() -> str:
    """Returns the current time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def library_versions() -> dict[str, str]:
    """Returns the versions of the libraries that results depend on, without importing them."""
    from importlib import metadata  # It takes a third of the time of `--help`, which needs none.

    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def describe_hardware() -> dict[str, Any]:
    """Returns platform, number of cores and, if torch is already imported, the GPUs' names."""
    found: dict[str, Any] = {"platform": platform.platform(), "cores": os.cpu_count()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        ]
    return found


class KnownModel(TypedDict):
    """A base model as manifests record it.

    Keys:
        id: `embedded`, the absolute path of a folder, or a hub id.
        revision: Hub commit, or for a folder its digest; None where neither is known.
    """

    id: str
    revision: str | None


@dataclass
class Manifest:
    """What is known of one run of a stage; field names are the keys on disk.

    Attributes:
        settings: Every setting that the result depends on, after defaults.
        given: Names of the options that the user gave, as opposed to defaults.
        inputs: Logical name -> `{"path", "sha256"}` of each file that was read.
        outputs: Path inside the stage folder -> `{"bytes", "sha256"}`.
        base_model: The base model that the stage used or remembers, if any.
        counts, metrics: The stage's record (`stage_records`), through `keep` and `record`.
        notes: Sentences that a person should read along with the result.
    """

    stage: str
    settings: dict[str, Any]
    given: list[str] = field(default_factory=list)
    inputs: dict[str, dict[str, str]] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    base_model: KnownModel | None = None
    layout_fingerprint: str | None = None
    seed: int | None = None
    counts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    started: str = field(default_factory=now)
    ended: str | None = None
    schema: int = SCHEMA_VERSION
    lorapar_version: str = __version__
    libraries: dict[str, str] = field(default_factory=library_versions)
    hardware: dict[str, Any] = field(default_factory=describe_hardware)

    def seconds(self) -> float | None:
        """Returns the stage's duration in seconds, or None while it is unfinished."""
        if self.ended is None:
            return None
        return (
            datetime.fromisoformat(self.ended) - datetime.fromisoformat(self.started)
        ).total_seconds()

    def keep(self, record: Any) -> None:
        """Stores a stage's record, a dataclass of `stage_records`."""
        self.counts, self.metrics = dict(record.counts), dict(record.metrics)

    def record(self, kind: type[Record]) -> Record:
        """Returns counts and metrics as a record of the stage.

        Args:
            kind: A dataclass of `stage_records`.

        Raises:
            LoraparError: The manifest is damaged, or another version of lorapar wrote it.
        """
        hints = get_type_hints(kind)
        for name in ("counts", "metrics"):
            if mismatch := find_mismatch(getattr(self, name), hints[name], name):
                raise LoraparError(
                    f"the manifest of `{self.stage}` cannot be read",
                    f"{mismatch}, written by lorapar {self.lorapar_version}",
                    "run the stage again",
                )
        return kind(counts=self.counts, metrics=self.metrics)  # type: ignore[call-arg]


@dataclass(frozen=True)
class Outcome:
    """The result of a stage.

    Attributes:
        folder: The stage folder.
        manifest: Its manifest.
        fresh: Whether this call made the result; False where it was up to date.
    """

    folder: Path
    manifest: Manifest
    fresh: bool = True


def _describe_outputs(folder: Path, skip: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        relative: {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in files
        if (relative := path.relative_to(folder).as_posix()) != Artifact.MANIFEST
        and not relative.startswith(skip)
    }


def write_manifest(
    folder: Path, manifest: Manifest, skip: tuple[str, ...] = (), *, target: Path | None = None
) -> Manifest:
    """Finishes a stage folder: records its files and the end time, then writes `manifest.json`.

    Args:
        folder: The stage folder, complete except for its manifest.
        manifest: `outputs`, `ended`, `libraries` and `hardware` are filled in here.
        skip: Prefixes of relative paths that are not results (checkpoints, journals).
        target: The folder that `folder` will replace; None for itself. Where it is a link, the
            run directory is around the link, not around what it leads to.
    """
    manifest.outputs = _describe_outputs(folder, skip)
    root = run_root(target or folder, manifest.stage)
    manifest.inputs = {
        name: described | {"path": _recorded_path(described["path"], root)}
        for name, described in manifest.inputs.items()
    }
    manifest.ended = now()
    manifest.libraries = library_versions()
    manifest.hardware = describe_hardware()
    with atomic_file(folder / Artifact.MANIFEST) as file:
        # Escaped: names of files may hold bytes that are not UTF-8.
        file.write(escape_json(json.dumps(asdict(manifest), indent=2, ensure_ascii=False)) + "\n")
    return manifest


def run_root(folder: Path, stage: str) -> Path:
    """Returns the run directory of a stage folder, to which relative paths in its manifest refer.

    Evaluations lie one folder deeper than other stages.
    """
    absolute = folder.absolute()
    return absolute.parent.parent if stage == Stage.EVAL else absolute.parent


def _recorded_path(path: str, root: Path) -> str:
    """Returns a path relative to the run directory where it lies in it, else as it is."""
    # Not resolved: a link inside the run directory stands for whatever it points to then.
    absolute = Path(path)
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else path


def read_manifest(folder: Path) -> Manifest | None:
    """Returns a stage folder's manifest, or None where the stage is missing or unfinished.

    Raises:
        LoraparError: The file is damaged, was written under another schema, or is not a file.
        UnreadableError: It, or the folder, may not be read.
    """
    path = folder / Artifact.MANIFEST
    if not exists(path):
        return None
    content = read_json(path)
    if not isinstance(content, dict):
        raise _not_a_manifest(path, f"it holds {type(content).__name__}, not an object")
    schema = content.get("schema")
    if isinstance(schema, int) and schema != SCHEMA_VERSION:
        raise LoraparError(
            f"`{path}` has schema {schema}, this version reads {SCHEMA_VERSION}",
            hint="use the lorapar version that wrote it, or run the stage again",
        )
    hints = get_type_hints(Manifest)
    if unknown := sorted(content.keys() - hints.keys()):
        raise _not_a_manifest(path, f"`{unknown[0]}` is unknown")
    if missing := sorted(_REQUIRED - content.keys()):
        raise _not_a_manifest(path, f"`{missing[0]}` is missing")
    for name, value in content.items():
        if mismatch := find_mismatch(value, hints[name], name):
            raise _not_a_manifest(path, mismatch)
    manifest = Manifest(**content)
    if problem := _find_problem(manifest):
        raise _not_a_manifest(path, problem)
    return manifest


_REQUIRED = {"schema", "stage", "settings", "inputs", "outputs", "started", "ended"}


def _find_problem(manifest: Manifest) -> str | None:
    """Returns what is wrong with a manifest whose fields have the right types, or None."""
    if manifest.stage not in tuple(Stage):
        return f"`stage` is {manifest.stage!r}"
    for name, described in manifest.outputs.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            return f"output {name!r} is outside the stage folder"
        if not isinstance(described.get("bytes"), int) or not isinstance(
            described.get("sha256"), str
        ):
            return f"output {name!r} has no size or sha256"
    for name, described in manifest.inputs.items():
        if not {"path", "sha256"} <= described.keys():
            return f"input {name!r} has no path or sha256"
    try:
        manifest.seconds()
    except (ValueError, TypeError):
        return f"`started` is {manifest.started!r}, `ended` is {manifest.ended!r}"
    return None


def _not_a_manifest(path: Path, found: str) -> LoraparError:
    return LoraparError(f"`{path}` is not a manifest", found, "run the stage again")
