"""Finds finished evaluations on disk and reads their samples."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.sample_journal import Sample
from lorapar_cli.evaluation.settings import accuracy_of, describe_settings
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.options import fill_defaults, options_of
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.evaluation import EvalRecord, EvalSettings
from lorapar_cli.stage_records.forgetting import Forgetting
from lorapar_cli.store.disk.regular_files import open_regular
from lorapar_cli.store.manifest import Manifest, read_manifest
from lorapar_cli.store.verify import check_written

_NEEDED = ("model", "id", "draw", "prompt", "completion", "reference", "extracted", "correct")


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation.

    Attributes:
        accuracy_of: Which completion of each item `accuracy` is about, in words.
        settings: As results.json has them.
        forgetting: Model -> its figures; empty where none were measured.
    """

    folder: Path
    task: str
    match: str
    accuracy_of: str
    models: list[str]
    settings: EvalSettings
    forgetting: dict[str, Forgetting]

    def samples(self) -> Iterator[Sample]:
        """Yields the samples in the order of the file.

        Raises:
            LoraparError: The file is missing or damaged, or a line is not a sample.
        """
        path = self.folder / Artifact.SAMPLES
        check_written(path)
        with open_regular(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    # Half a surrogate pair, which a completion may have, stands as an escape.
                    sample = json.loads(line)
                    missing = [key for key in _NEEDED if key not in sample]
                except (ValueError, TypeError, RecursionError) as cause:
                    raise LoraparError(f"`{path}:{number}` is not a sample", str(cause)) from cause
                if missing:
                    raise LoraparError(
                        f"`{path}:{number}` is not a sample", f"field `{missing[0]}` is missing"
                    )
                yield cast("Sample", sample)


def find_evaluations(path: Path) -> dict[str, Path]:
    """Returns name -> folder of the finished evaluations that a path names.

    Args:
        path: The folder of one evaluation, or a run directory.

    Raises:
        LoraparError: There is none.
    """
    if (manifest := read_manifest(path)) is not None and manifest.stage == Stage.EVAL:
        return {path.name: path}
    folder = path / Stage.EVAL
    names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    found = {
        name: folder / name
        for name in names
        if not name.startswith(".") and read_manifest(folder / name) is not None
    }
    if not found:
        raise LoraparError(
            f"no finished evaluation in `{path}`",
            None if path.exists() else "there is no such folder",
            "give a run directory, or a folder inside its `eval`",
        )
    return found


def choose_evaluation(path: Path, name: str | None, option: str) -> Evaluation:
    """Returns the evaluation of that name, or the only one.

    Args:
        option: How the name is given, for messages.

    Raises:
        LoraparError, UsageError: There is none, or several and no name.
    """
    found = find_evaluations(path)
    if name is None and len(found) > 1:
        raise UsageError(
            f"`{path}` has {counted(len(found), 'evaluation')}",
            ", ".join(found),
            f"name one with {option}",
        )
    if name is not None and name not in found:
        raise UsageError(
            f"`{path}` has no evaluation `{name}`{nearest(name, list(found))}",
            ", ".join(found),
        )
    return read_evaluation(found[name] if name is not None else next(iter(found.values())))


def read_evaluation(folder: Path) -> Evaluation:
    """Returns the finished evaluation in a folder.

    Raises:
        LoraparError: Its manifest is damaged, or another version of lorapar wrote it.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise LoraparError(f"no finished evaluation in `{folder}`")
    record = manifest.record(EvalRecord)
    try:
        rows = record.metrics.get("harness") or record.metrics["models"]
        forgotten = {
            row["model"]: row["forgetting"]
            for row in record.metrics["models"]
            if "forgetting" in row
        }
        return _read(folder, manifest, [row["model"] for row in rows], forgotten)
    except (KeyError, TypeError, AttributeError) as cause:
        raise LoraparError(
            f"the settings of `{folder}` cannot be read",
            f"{type(cause).__name__}: {cause}, written by lorapar {manifest.lorapar_version}",
            "run `lorapar eval` again",
        ) from cause


def _read(
    folder: Path, manifest: Manifest, models: list[str], forgetting: dict[str, Forgetting]
) -> Evaluation:
    # What concerns models is recorded where models were run.
    names = [each.name for each in options_of(EvalOptions)]
    wanted = names if "base_model" in manifest.settings else None
    manifest.settings = fill_defaults(manifest.settings, EvalOptions, wanted)
    settings: Mapping[str, str] = manifest.settings
    return Evaluation(
        folder,
        settings["task"],
        settings["match"],
        accuracy_of(settings),
        models,
        describe_settings(manifest),
        forgetting,
    )


def verdict(sample: Sample) -> bool | None:
    """Returns whether a sample is right; None where no metric of the harness's task says so."""
    return cast("bool | None", sample["correct"])
