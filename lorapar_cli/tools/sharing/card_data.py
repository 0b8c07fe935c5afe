"""What an adapter's model card says of it in figures, from the manifests of its run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorapar_cli.evaluation.settings import accuracy_of
from lorapar_cli.names import ADAPTER_WEIGHTS, Artifact, Stage, System
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.evaluation import EvalRecord, ModelRow, PairRow
from lorapar_cli.stage_records.score import ScoreRecord
from lorapar_cli.stage_records.training import RlRecord, SftRecord, TrainingRecord
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.store.run_dir import ADAPTERS
from lorapar_cli.tools.markdown import accuracy_cell, harness_table, pass_cell, table, title_of
from lorapar_cli.tools.run_results import RunResults, selection_in_words, share_active
from lorapar_cli.tools.sharing.commands import data_names

BASE = "base"
_ORDER = (Stage.CLASSIFY, Stage.SCORE, Stage.PARTITION, Stage.TRAIN_SFT, Stage.TRAIN_RL)


@dataclass(frozen=True)
class Result:
    """What an evaluation found of the adapter.

    Attributes:
        name: The evaluation's.
        row: The adapter's figures; `base` are those of the base model where it was evaluated.
        pair: The adapter against the base model, where both were.
        harness: Tables of the harness's own metrics; empty for other evaluations.
    """

    name: str
    manifest: Manifest
    row: ModelRow | None
    base: ModelRow | None
    pair: PairRow | None
    harness: str


def stages_behind(run: RunResults, what: str) -> dict[Stage, Manifest]:
    """Returns the finished stages that an adapter comes from, in their order.

    They are those whose files were read: a stage that was run again since, or that an option
    passed by, is not among them.
    """
    last = ADAPTERS[what]
    found, read = {last: run.stages[last]}, _digests(run.stages[last].inputs)
    for stage in reversed(_ORDER[: _ORDER.index(last)]):
        manifest = run.stages.get(stage)
        if manifest is not None and read & _digests(manifest.outputs):
            found[stage] = manifest
            read |= _digests(manifest.inputs)
    return {stage: found[stage] for stage in _ORDER if stage in found}


def _digests(files: dict[str, dict[str, Any]]) -> set[str]:
    # Adapters of all stages have the same configuration, which says nothing of where one is from.
    return {described["sha256"] for name, described in files.items() if name != "adapter_config"}


def results_of(run: RunResults, what: str) -> list[Result]:
    """Returns the evaluations of the adapter as it is now: of the very weights that are shared."""
    made_by = run.stages[ADAPTERS[what]]
    weights = made_by.outputs[f"{Artifact.ADAPTER}/{ADAPTER_WEIGHTS}"]["sha256"]
    found = []
    for name, manifest in run.evaluations.items():
        models = [
            part.removesuffix("/weights")
            for part, described in manifest.inputs.items()
            if part.endswith("/weights") and described["sha256"] == weights
        ]
        if models:
            found.append(_result(name, manifest, models[0]))
    return found


def _result(name: str, manifest: Manifest, model: str) -> Result:
    metrics = manifest.record(EvalRecord).metrics
    rows = {row["model"]: row for row in metrics["models"]}
    pairs = [p for p in metrics["pairs"] if (p["model"], p["against"]) == (model, BASE)]
    harness = [row for row in metrics.get("harness", []) if row["model"] in (BASE, model)]
    return Result(
        name,
        manifest,
        rows.get(model),
        rows.get(BASE),
        pairs[0] if pairs else None,
        harness_table(harness) if harness else "",
    )


def results_section(results: list[Result]) -> list[str]:
    """Returns a paragraph and a table for each evaluation."""
    parts = []
    for result in results:
        settings = result.manifest.settings
        data = ", ".join(f"`{name}`" for name in dict.fromkeys(data_names(result.manifest)) if name)
        if result.harness:
            said = (
                f"lm-evaluation-harness, values and standard errors{f' ({data})' if data else ''}."
            )
            parts += [said, result.harness]
            continue
        if result.row is None:
            continue
        what = f"task `{settings['task']}`" + (f" on {data}" if data else "")
        shots = settings["num_fewshot"]
        parts.append(
            f"`{result.name}`: {what}, {counted(shots, 'example') if shots else 'no examples'} in the prompt, "
            f"{accuracy_of(settings)}. Accuracy with its 95 % Wilson interval and number of items:"
        )
        parts.append(_accuracies(result))
        if result.pair is not None:
            low, high = result.pair["interval"]
            parts.append(
                f"Difference from the base model on the same items: "
                f"{100 * result.pair['difference']:+.1f} points, 95 % interval "
                f"{100 * low:+.1f} to {100 * high:+.1f} (McNemar's exact test, p = "
                f"{result.pair['p_value']:.2g})."
            )
        if (forgotten := _forgetting(result)) is not None:
            parts.append(forgotten)
    return parts


def _forgetting(result: Result) -> str | None:
    """Returns what training cost on plain text; None where it was not measured."""
    row, base = result.row, result.base
    if row is None or base is None or "forgetting" not in row or "forgetting" not in base:
        return None
    before, after = base["forgetting"]["neutral_loss"], row["forgetting"]["neutral_loss"]
    return f"Loss on neutral text: {before:.3f} nats per token before training, {after:.3f} after."


def _accuracies(result: Result) -> str:
    rows = [("base model", result.base), ("this model", result.row)]
    systems = [s for s in System if result.row and s in result.row.get("by_system", {})]
    draws = sorted(result.row.get("pass_at_k", {}), key=int) if result.row else []
    heads = ["", "all", *map(title_of, systems), *(f"pass@{k}" for k in draws)]
    return table(
        heads,
        [
            [
                name,
                accuracy_cell(row),
                *(accuracy_cell(row["by_system"][system]) for system in systems),
                *(pass_cell(row["pass_at_k"][k]) for k in draws),
            ]
            for name, row in rows
            if row is not None
        ],
    )


def training_rows(stages: dict[Stage, Manifest]) -> list[list[str]]:
    """Returns a line a stage: what it did with which settings, and its share of active elements."""
    rows = []
    if (score := stages.get(Stage.SCORE)) is not None:
        settings, counts = score.settings, score.record(ScoreRecord).counts
        rule = settings["formula"] if settings["rule"] == "importance" else settings["rule"]
        said = (
            f"init `{settings['init']}`, r {settings['r']}, lora_alpha {settings['lora_alpha']} on "
            f"{', '.join(settings['target_modules'])}; {counted(counts['elements'], 'element')} ranked by "
            f"`{rule}`"
        )
        rows.append(["score", said, ""])
    if (cut := stages.get(Stage.PARTITION)) is not None:
        rows.append(["partition", selection_in_words(cut), ""])
    for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL):
        if (manifest := stages.get(stage)) is not None:
            rows.append([stage.value, _training(stage, manifest), share_active(manifest)])
    return rows


def _training(stage: Stage, manifest: Manifest) -> str:
    record, settings = manifest.record(TrainingRecord), manifest.settings
    rate = record.metrics.get("learning_rate", settings["learning_rate"])
    records = ", ".join(
        f"{n:,} of {title_of(system)}" for system, n in record.counts["records"].items() if n
    )
    parts = [
        f"{counted(record.metrics['steps'], 'step')} of {settings['optimizer']} at rate {rate:g}",
        f"records: {records}",
    ]
    if stage is Stage.TRAIN_SFT:
        parts.append(f"mean loss {manifest.record(SftRecord).metrics['loss']:.4f}")
    else:
        reward = manifest.record(RlRecord).metrics["reward"]
        parts.append(f"GRPO with rewards `{settings['rewards']}`")
        parts += [] if reward is None else [f"last mean reward {reward:.3f}"]
    frozen = record.counts["frozen_moved"]
    return "; ".join([*parts, f"{counted(frozen, 'frozen element')} changed"])


def data_rows(stages: dict[Stage, Manifest]) -> list[list[str]]:
    """Returns name and sha256 of each file and data set that the stages read from outside."""
    rows = {}
    for manifest in stages.values():
        for name, described in manifest.inputs.items():
            outside = "source" in described or Path(described["path"]).is_absolute()
            if manifest.stage == Stage.CLASSIFY or outside:
                shown = described["path"]
                if described.get("source") != "hub":
                    shown = Path(shown).name
                rows[name, described["sha256"]] = [shown, f"`{described['sha256']}`"]
    return list(rows.values())


def hub_data_sets(stages: dict[Stage, Manifest]) -> list[str]:
    """Returns the names of the Hub's data sets that the stages read."""
    names = (
        described["path"]
        for manifest in stages.values()
        for described in manifest.inputs.values()
        if described.get("source") == "hub"
    )
    return list(dict.fromkeys(names))


def teachers_of(stages: dict[Stage, Manifest]) -> list[str]:
    """Returns the names of the teachers that labelled the data."""
    manifest = stages.get(Stage.CLASSIFY)
    return [] if manifest is None else list(manifest.settings.get("teachers") or {})
