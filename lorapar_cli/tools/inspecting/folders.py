"""A finished stage by its manifest, the results of evaluations and grids, and a run directory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict, final

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.plurals import counted
from lorapar_cli.store.disk.regular_files import exists, read_json
from lorapar_cli.store.manifest import KnownModel, read_manifest
from lorapar_cli.store.resumable_folder import UNFINISHED
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.verify import check_written, find_damage
from lorapar_cli.tools.inspecting.unfinished import ObjectReport, inspect_object
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


def inspect_json(path: Path) -> ResultsReport | ObjectReport:
    """Returns the results of an evaluation, a comparison or a sweep, or any other JSON object.

    Raises:
        LoraparError: The file is damaged, or holds no object.
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
    if isinstance(content, dict):
        return inspect_object(path, content)
    raise LoraparError(f"`{path}` holds no results of `eval`, `compare` or `sweep`")


def accuracies(models: list[dict[str, Any]]) -> dict[str, str]:
    """Returns model -> its accuracy in words, from the rows of an evaluation."""
    return {row["model"]: _accuracy(row) for row in models}


def differences(pairs: list[dict[str, Any]]) -> dict[str, str]:
    """Returns `sft - base` -> their difference in words, from the pairs of an evaluation."""
    words = {}
    for row in pairs:
        low, high = (100 * bound for bound in row["interval"])
        words[f"{row['model']} - {row['against']}"] = (
            f"{100 * row['difference']:+.1f} points ({low:+.1f} to {high:+.1f}), "
            f"p {row['p_value']:.2g}"
        )
    return words


def evaluated(metrics: dict[str, Any]) -> dict[str, str]:
    """Returns accuracies and differences in words; empty where metrics are not those of `eval`."""
    try:
        return accuracies(metrics["models"]) | differences(metrics["pairs"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _accuracy(row: dict[str, Any]) -> str:
    parts = [f"{row['correct']:,} of {row['n']:,} correct"]
    # Of no items there is no share.
    if (interval := row.get("interval")) is not None and row["n"]:
        low, high = (100 * bound for bound in interval)
        parts.append(f"{100 * row['accuracy']:.1f} % ({low:.1f} to {high:.1f})")
    for system, own in row.get("by_system", {}).items():
        parts.append(f"{system} {own['correct']:,} of {own['n']:,}")
    return ", ".join(parts)


def _evaluation(content: dict[str, Any]) -> dict[str, str]:
    others = {row["model"]: _harness(row["tasks"]) for row in content.get("harness", [])}
    own = accuracies(content["models"]) | differences(content.get("pairs", []))
    return {"task": str(content["task"]), **own, **others}


def _harness(tasks: list[dict[str, Any]]) -> str:
    """Returns the first metric of each task that lm-evaluation-harness measured."""
    firsts = [(task["task"], task["metrics"][0]) for task in tasks if task["metrics"]]
    return ", ".join(f"{task} {each['metric']} {each['value']}" for task, each in firsts)


def _comparison(content: dict[str, Any]) -> dict[str, str]:
    base = content.get("base", {}).get("loss", {})
    losses = {f"{row['stage']} {row['cell']}": _losses(row) for row in content["cells"]}
    return {
        "found": content["sentence"],
        **({"base model": f"loss {_figures(base)}"} if base else {}),
        **losses,
        "held-out records": ", ".join(f"{n:,} {s}" for s, n in content["measured"].items()),
        "left out": "; ".join(content["left_out"]),
    }


def _losses(row: dict[str, Any]) -> str:
    if "loss" not in row:
        return "diverged"
    return f"loss {_figures(row['loss'])}, {counted(row['active'], 'active element')}"


def _figures(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())


def _sweep(content: dict[str, Any]) -> dict[str, str]:
    failed = sum("failed" in row for row in content["cells"])
    return {
        "title": content["title"],
        "model": content["model"],
        "cells": f"{len(content['cells']):,}, {failed:,} failed",
        "seeds": ", ".join(map(str, content["seeds"])),
        "left out": ", ".join(map(str, content["left_out"])),
        **{_labels(row): _row_of_table(row, content["layout"]) for row in content["table"]},
    }


def _labels(row: dict[str, Any]) -> str:
    return ", ".join(f"{axis} {label}" for axis, label in row["labels"].items())


def _row_of_table(row: dict[str, Any], layout: dict[str, Any]) -> str:
    """Returns the figures of a row of the table, under the heads of its columns."""
    heads = layout["figures"]
    found = [f"{heads[name]} {row['mean'][name]:.2f}" for name in heads if name in row["mean"]]
    return "; ".join(found) or "no figures"


_Results = Literal["evaluation", "comparison", "sweep"]
_RESULTS: dict[_Results, tuple[set[str], Callable[[dict[str, Any]], dict[str, str]]]] = {
    "sweep": ({"title", "layout", "cells", "seeds"}, _sweep),
    "comparison": ({"verdicts", "differences", "sentence"}, _comparison),
    "evaluation": ({"task", "models", "settings"}, _evaluation),
}


def is_run(folder: Path) -> bool:
    """Returns whether a folder has a stage's folder."""
    return any(exists(folder / stage) for stage in Stage)


def is_evaluations(folder: Path) -> bool:
    """Returns whether a folder is that of a run's evaluations, one in each of its folders."""
    return folder.resolve().name == Stage.EVAL and any(
        exists(each / name) for each in folder.iterdir() for name in (Artifact.MANIFEST, UNFINISHED)
    )


def inspect_evaluations(folder: Path) -> RunReport:
    """Returns the state of each evaluation of a run directory, from the folder that has them."""
    rows = run_status(RunDir(folder.resolve().parent))
    own = [row for row in rows if row["stage"].startswith(f"{Stage.EVAL}/")]
    return {"path": str(folder), "kind": "run", "stages": own}


def inspect_run(folder: Path) -> RunReport:
    """Returns the state of each stage of a run directory."""
    return {"path": str(folder), "kind": "run", "stages": run_status(RunDir(folder))}
