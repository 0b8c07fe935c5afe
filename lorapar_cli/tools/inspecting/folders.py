"""A finished stage by its manifest, the results of evaluations and grids, and a run directory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict, final

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.store.disk.regular_files import exists, read_json
from lorapar_cli.store.manifest import KnownModel, read_manifest
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.verify import check_written, find_damage
from lorapar_cli.tools.run_status import StageStatus, run_status


class StageReport(TypedDict):
    """A finished stage, as its manifest has it.

    Keys:
        inputs: Name -> path.
        outputs: File -> bytes.
        damaged: Files that are not what the stage wrote, and how.
    """

    path: str
    kind: Literal["stage"]
    stage: str
    lorapar_version: str
    started: str
    ended: str | None
    seconds: float | None
    base_model: KnownModel | None
    seed: int | None
    settings: dict[str, Any]
    given: list[str]
    inputs: dict[str, str]
    outputs: dict[str, int]
    damaged: dict[str, str]
    counts: dict[str, Any]
    metrics: dict[str, Any]
    notes: list[str]


@final
class ResultsReport(TypedDict):
    """A `results.json`.

    Keys:
        summary: What a person reads first, label -> text.
        results: All of the file.
    """

    path: str
    kind: Literal["evaluation", "comparison", "sweep"]
    summary: dict[str, str]
    results: dict[str, Any]


class RunReport(TypedDict):
    """A run directory."""

    path: str
    kind: Literal["run"]
    stages: list[StageStatus]


def inspect_stage(folder: Path) -> StageReport:
    """Returns what a stage's manifest says, and whether its files are still those.

    Raises:
        LoraparError: The manifest is missing or damaged.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise LoraparError(f"`{folder}` has no `{Artifact.MANIFEST}`: the stage is unfinished")
    return {
        "path": str(folder),
        "kind": "stage",
        "stage": manifest.stage,
        "lorapar_version": manifest.lorapar_version,
        "started": manifest.started,
        "ended": manifest.ended,
        "seconds": manifest.seconds(),
        "base_model": manifest.base_model,
        "seed": manifest.seed,
        "settings": manifest.settings,
        "given": manifest.given,
        "inputs": {name: each["path"] for name, each in manifest.inputs.items()},
        "outputs": {name: each["bytes"] for name, each in manifest.outputs.items()},
        "damaged": {each.name: each.found for each in find_damage(folder, manifest)},
        "counts": manifest.counts,
        "metrics": manifest.metrics,
        "notes": manifest.notes,
    }


def inspect_results(path: Path) -> ResultsReport:
    """Returns the results of an evaluation, a comparison or a sweep.

    Raises:
        LoraparError: The file is damaged, or holds none of these.
    """
    check_written(path)
    content = read_json(path)
    try:
        for kind, (keys, summary) in _RESULTS.items():
            if isinstance(content, dict) and keys <= content.keys():
                told = {label: text for label, text in summary(content).items() if text}
                return {"path": str(path), "kind": kind, "summary": told, "results": content}
    except (AttributeError, KeyError, TypeError) as cause:
        raise LoraparError(f"`{path}` is damaged", repr(cause)) from cause
    raise LoraparError(f"`{path}` holds no results of `eval`, `compare` or `sweep`")


def _evaluation(content: dict[str, Any]) -> dict[str, str]:
    shares = {
        row["model"]: f"{row['correct']:,} of {row['n']:,} correct" for row in content["models"]
    }
    return {"task": str(content["task"]), **shares}


def _comparison(content: dict[str, Any]) -> dict[str, str]:
    return {
        "found": content["sentence"],
        "cells": ", ".join(dict.fromkeys(row["cell"] for row in content["cells"])),
        "held-out records": ", ".join(f"{n:,} {s}" for s, n in content["measured"].items()),
        "left out": "; ".join(content["left_out"]),
    }


def _sweep(content: dict[str, Any]) -> dict[str, str]:
    failed = sum("failed" in row for row in content["cells"])
    return {
        "title": content["title"],
        "model": content["model"],
        "cells": f"{len(content['cells']):,}, {failed:,} failed",
        "seeds": ", ".join(map(str, content["seeds"])),
        "left out": ", ".join(map(str, content["left_out"])),
    }


_Results = Literal["evaluation", "comparison", "sweep"]
_RESULTS: dict[_Results, tuple[set[str], Callable[[dict[str, Any]], dict[str, str]]]] = {
    "sweep": ({"title", "layout", "cells", "seeds"}, _sweep),
    "comparison": ({"verdicts", "differences", "sentence"}, _comparison),
    "evaluation": ({"task", "models", "settings"}, _evaluation),
}


def is_run(folder: Path) -> bool:
    """Returns whether a folder has a stage's folder."""
    return any(exists(folder / stage) for stage in Stage)


def inspect_run(folder: Path) -> RunReport:
    """Returns the state of each stage of a run directory."""
    return {"path": str(folder), "kind": "run", "stages": run_status(RunDir(folder))}
