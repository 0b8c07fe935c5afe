"""What every evaluation has, whether models are run or completions are given."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorapar_cli.evaluation.metrics import summarize_samples
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.sample_journal import Sample, SampleJournal
from lorapar_cli.evaluation.settings import accuracy_of, describe_settings
from lorapar_cli.evaluation.tasks.task import Task
from lorapar_cli.grading.sandbox.process import UNSAFE
from lorapar_cli.grading.sandbox.runner import Sandbox
from lorapar_cli.names import SCHEMA_VERSION, Artifact, Stage
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.stage_records.evaluation import EvalCounts, EvalMetrics, EvalRecord
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.store.records import write_jsonl
from lorapar_cli.store.resumable_folder import finish_working_folder


@dataclass(frozen=True)
class EvaluationRun:
    """One evaluation.

    Attributes:
        folder: Where its result goes.
        sandbox: How programs are run, None where none are.
    """

    folder: Path
    task: Task
    options: EvalOptions
    sandbox: Sandbox | None


def start_manifest(
    run: EvaluationRun,
    given: Sequence[str],
    settings: dict[str, Any],
    inputs: dict[str, dict[str, str]],
) -> Manifest:
    """Returns the manifest before anything is completed or graded.

    Args:
        given: Names of the options that the user gave, as opposed to defaults.
        settings: What else decides the result, with the models' names under `models`.
        inputs: Of the models or completions, as `describe_inputs` returns them.
    """
    return Manifest(
        stage=Stage.EVAL,
        settings=run.options.settings(num_fewshot=run.task.num_fewshot, match=run.task.match)
        | _describe_sandbox(run.sandbox)
        | settings,
        given=list(given),
        inputs=run.task.inputs | inputs,
        seed=run.options.seed,
    )


def _describe_sandbox(sandbox: Sandbox | None) -> dict[str, Any]:
    if sandbox is None:
        return {"sandbox": None}
    return {
        "sandbox": sandbox.backend,
        "code_package_versions": dict(sandbox.packages.versions),
    }


def finish_run(
    run: EvaluationRun,
    work: Path,
    manifest: Manifest,
    journal: SampleJournal,
    seconds: dict[str, float] | None = None,
    truncated_prompts: int | None = None,
    add: Callable[[EvalMetrics], None] = lambda _: None,
    adding_seconds: float = 0.0,
) -> Manifest:
    """Writes samples, results and manifest, and publishes the folder.

    Args:
        work: The working folder, with the journal of all samples.
        seconds: By model; None where none was run.
        truncated_prompts: Number of them; None where no model was run.
        add: Adds to the metrics what they have forgotten.
        adding_seconds: That measuring this took.
    """
    task = run.task
    samples = order_samples(task, manifest.settings["models"], journal)
    write_jsonl(work / Artifact.SAMPLES, (line for lines in samples.values() for line in lines))
    journal.remove_others()
    groups = [item.groups for item in task.items]
    metrics = summarize_samples(task.match, samples, groups, run.options.k)
    add(metrics)
    counts: EvalCounts = {
        "items": len(task.items),
        "without_reference": task.without_reference,
        "tokens": {
            name: sum(sample.get("tokens", 0) for sample in lines)
            for name, lines in samples.items()
        },
    }
    if truncated_prompts is not None:
        counts = {"cut_prompts": truncated_prompts, **counts}
    with atomic_file(work / Artifact.RESULTS) as file:
        head = {
            "schema": SCHEMA_VERSION,
            "task": task.name,
            "match": task.match,
            "accuracy_of": accuracy_of(manifest.settings),
            "settings": describe_settings(manifest),
        }
        json.dump({**head, **counts, **metrics}, file, indent=2, ensure_ascii=False)
        file.write("\n")
    if seconds is not None:
        metrics = {"seconds": seconds, **metrics}
    if "forgetting_basis" in metrics:
        metrics["forgetting_seconds"] = round(adding_seconds, 3)
    record = EvalRecord(counts, metrics)
    manifest.keep(record)
    manifest.notes += _notes(run, record)
    return finish_working_folder(work, run.folder, manifest)


def order_samples(
    task: Task, models: Sequence[str], journal: SampleJournal
) -> dict[str, list[Sample]]:
    """Returns each model's samples in the order of the items, those of one item together."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for (name, item, _), sample in sorted(journal.known.items(), key=lambda pair: pair[0][2]):
        found.setdefault((name, item), []).append(sample)
    return {
        name: [sample for item in task.items for sample in found[name, item.id]] for name in models
    }


def _notes(run: EvaluationRun, record: EvalRecord) -> list[str]:
    notes, counts = [], record.counts
    if counts["without_reference"]:
        notes.append(
            f"{counted(counts['without_reference'], 'record')} "
            f"{inflected(counts['without_reference'], 'has', 'have')} no reference answer and "
            f"{inflected(counts['without_reference'], 'is', 'are')} excluded from every figure"
        )
    if truncated := counts.get("cut_prompts"):
        notes.append(
            f"{counted(truncated, 'prompt')} {inflected(truncated, 'was', 'were')} truncated from the left "
            "to fit the model"
        )
    notes += [
        f"{row['cut']:,} of {counted(row['completions'], 'completion')} of `{row['model']}` "
        f"{inflected(row['cut'], 'was', 'were')} truncated at "
        f"{counted(run.options.max_new_tokens, 'token')}"
        for row in record.metrics["models"]
        if row["cut"] > row["completions"] / 100
    ]
    if run.sandbox is not None and run.sandbox.backend == UNSAFE:
        notes.append(f"the programs of {counted(counts['items'], 'item')} ran without a sandbox")
    return notes
