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
from pathlib import Path
from typing import Any, TypedDict, TypeVar, get_type_hints

from lorapar_cli import __version__
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import SCHEMA_VERSION, Artifact
from lorapar_cli.stage_records.mismatch import find_mismatch
from lorapar_cli.store.atomic import atomic_file

Deciding = Callable[[dict[str, Any]], dict[str, Any]]
"""Returns those of a stage's settings that its result depends on."""
Record = TypeVar("Record")
LIBRARIES = ("torch", "transformers", "peft", "trl", "datasets", "accelerate", "safetensors")


def now() -> str:
    """Returns the current time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def sha256_file(path: Path) -> str:
    """Returns the hex sha256 of a file's bytes."""
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def describe_inputs(paths: dict[str, Path]) -> dict[str, dict[str, str]]:
    """Returns name -> path and sha256 of input files.

    Raises:
        LoraparError: A file is missing.
    """
    described = {}
    for name, path in paths.items():
        if not path.is_file():
            raise LoraparError(f"input file is missing: `{path}`")
        described[name] = {"path": str(path), "sha256": sha256_file(path)}
    return described


def _describe_outputs(folder: Path, skip: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        relative: {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in files
        if (relative := path.relative_to(folder).as_posix()) != Artifact.MANIFEST
        and not relative.startswith(skip)
    }


def write_manifest(folder: Path, manifest: Manifest, skip: tuple[str, ...] = ()) -> Manifest:
    """Finishes a stage folder: records its files and the end time, then writes `manifest.json`.

    Args:
        folder: The stage folder, complete except for its manifest.
        manifest: `outputs`, `ended`, `libraries` and `hardware` are filled in here.
        skip: Prefixes of relative paths that are not results (checkpoints, journals).
    """
    manifest.outputs = _describe_outputs(folder, skip)
    manifest.ended = now()
    manifest.libraries = library_versions()
    manifest.hardware = describe_hardware()
    with atomic_file(folder / Artifact.MANIFEST) as file:
        json.dump(asdict(manifest), file, indent=2, ensure_ascii=False)
        file.write("\n")
    return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """Returns a stage folder's manifest, or None where the stage is missing or unfinished.

    Raises:
        LoraparError: The file is damaged or was written under another schema.
    """
    path = folder / Artifact.MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA_VERSION:
            raise LoraparError(
                f"`{path}` has schema {content['schema']}, this version reads {SCHEMA_VERSION}",
                hint="use the lorapar version that wrote it, or run the stage again",
            )
        return Manifest(**content)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as cause:
        raise LoraparError(
            f"`{path}` is not a manifest", str(cause), "run the stage again"
        ) from cause


def reuse(
    folder: Path,
    settings: dict[str, Any],
    inputs: dict[str, dict[str, str]],
    deciding: Deciding = dict,
) -> Outcome | None:
    """Returns the finished result of these settings and inputs, None where `folder` has none.

    Inputs are compared by content, not by path; all outputs must be there with their sizes.

    Args:
        deciding: Returns those of the settings that the result depends on.
    """
    manifest = read_manifest(folder)
    wanted = deciding(json.loads(json.dumps(settings)))
    if manifest is None or deciding(manifest.settings) != wanted:
        return None
    if {k: v["sha256"] for k, v in manifest.inputs.items()} != {
        k: v["sha256"] for k, v in inputs.items()
    }:
        return None
    complete = all(
        (folder / name).is_file() and (folder / name).stat().st_size == described["bytes"]
        for name, described in manifest.outputs.items()
    )
    return Outcome(folder, manifest, fresh=False) if complete else None
