"""The closing report of `run` and `demo`: accuracies, elements, times, and where results are."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorapar_cli.cli.console import two_columns
from lorapar_cli.cli.eval_tables import harness_table
from lorapar_cli.cli.forgetting_tables import forgetting_table, measured
from lorapar_cli.cli.options import next_on
from lorapar_cli.evaluation.settings import accuracy_of
from lorapar_cli.names import Artifact, Region, Stage
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.evaluation import Accuracy, EvalRecord, ModelRow
from lorapar_cli.stage_records.partition import PartitionRecord
from lorapar_cli.stage_records.training import TrainingRecord
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.tools.run_results import replay_in_words

if TYPE_CHECKING:
    from rich.table import Table

_MODELS = {"base": "base", "sft": "after SFT", "rl": "after RL"}
_SYSTEMS = {"system1": "System 1", "system2": "System 2"}
_TRAINING = (Stage.TRAIN_SFT, Stage.TRAIN_RL)


def closing_report(root: Path, outcomes: Mapping[Stage, Outcome], page: Path | None) -> list[Any]:
    """Returns the tables and lines that close a run.

    Args:
        root: The run directory.
        outcomes: Those of all six stages.
        page: The run's report, None where there is none.
    """
    manifests = {stage: outcome.manifest for stage, outcome in outcomes.items()}
    folder = outcomes[Stage.EVAL].folder
    return [
        _evaluation_table(manifests[Stage.EVAL]),
        *_forgetting(manifests[Stage.EVAL]),
        _elements_table(manifests),
        _time_table(manifests),
        *_replay_lines(manifests),
        f"accuracies, intervals, differences: {folder / Artifact.RESULTS}",
        f"every completion: {folder / Artifact.SAMPLES}",
        f"trained adapter (PEFT): {outcomes[Stage.TRAIN_RL].folder / Artifact.ADAPTER}",
        f"next: {next_on(root, 'lorapar status')}, "
        f"or {next_on(root, 'lorapar eval --data YOURS.jsonl')}",
        *([] if page is None else [f"report: {page}"]),
    ]


def _evaluation_table(manifest: Manifest) -> "Table":
    harness = manifest.record(EvalRecord).metrics.get("harness")
    return (
        _accuracy_table(manifest) if harness is None else harness_table(harness, manifest.settings)
    )


def _accuracy_table(manifest: Manifest) -> "Table":
    from rich.table import Table

    record = manifest.record(EvalRecord)
    models = record.metrics["models"]
    table = Table(
        title=f"accuracy ({accuracy_of(manifest.settings)}) on "
        f"{counted(record.counts['items'], 'record')}, 95 % intervals",
        title_justify="left",
    )
    table.add_column("model")
    headings = _parts(models[0])
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in models:
        parts = _parts(row)
        cells = [_accuracy(parts[each]) if each in parts else "-" for each in headings]
        table.add_row(_MODELS.get(row["model"], row["model"]), *cells)
    return table


def _parts(row: ModelRow) -> dict[str, Accuracy]:
    """Returns a model's accuracies by heading: of all records unless each has a system."""
    by_system = row.get("by_system", {})
    parts: dict[str, Accuracy] = {_SYSTEMS[system]: by_system[system] for system in by_system}
    if sum(part["n"] for part in parts.values()) != row["n"]:
        parts = {"all": row} | parts
    return parts


def _accuracy(part: Accuracy) -> str:
    if part["accuracy"] is None:
        return "-"
    low, high = part["interval"]
    return f"{part['accuracy']:.1%}  ({low:.1%} to {high:.1%}, n={part['n']})"


def _forgetting(manifest: Manifest) -> list["Table"]:
    found = measured(manifest.record(EvalRecord).metrics["models"])
    named = {_MODELS.get(name, name): figures for name, figures in found.items()}
    return [forgetting_table(named)] if named else []


def _elements_table(manifests: Mapping[Stage, Manifest]) -> "Table":
    counts = manifests[Stage.PARTITION].record(PartitionRecord).counts
    total = counts["elements"]

    def share(number: int) -> str:
        return f"{number:,} ({number / total:.1%})"

    sft, rl = (manifests[stage].record(TrainingRecord).counts["active"] for stage in _TRAINING)
    rows = [
        ("LoRA elements", f"{total:,}"),
        ("active in SFT", share(sft)),
        ("active in RL", share(rl)),
    ]
    rows += [(f"region {region}", share(counts["regions"][region])) for region in Region]
    return two_columns("elements", rows)


def _replay_lines(manifests: Mapping[Stage, Manifest]) -> list[str]:
    """Returns a line for each training stage that also saw replayed records."""
    return [
        f"replayed in {stage}: {replay_in_words(manifests[stage])}"
        for stage in _TRAINING
        if manifests[stage].settings["replay"]
    ]


def _time_table(manifests: Mapping[Stage, Manifest]) -> "Table":
    seconds = {stage: manifest.seconds() or 0.0 for stage, manifest in manifests.items()}
    rows = [(stage.value, f"{value:.0f} s") for stage, value in seconds.items()]
    return two_columns("time", [*rows, ("all stages", f"{sum(seconds.values()):.0f} s")])
