"""The figures of each stage's result that matter most, the first one first."""

from collections.abc import Callable

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Region, Stage, System
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.stage_records.classify import ClassifyRecord
from lorapar_cli.stage_records.evaluation import EvalRecord, ModelRow
from lorapar_cli.stage_records.partition import PartitionRecord
from lorapar_cli.stage_records.score import NoiseVerdict, ScoreRecord
from lorapar_cli.stage_records.training import RlRecord, SftRecord, TrainingRecord
from lorapar_cli.store.manifest import Manifest

_SHORT = {System.SYSTEM1: "S1", System.SYSTEM2: "S2"}
_REGIONS = {Region.S1_ONLY: "S1-only", Region.S2_ONLY: "S2-only", Region.SHARED: "shared"}
_NOISE: dict[NoiseVerdict, str] = {
    "above": "above noise",
    "barely": "barely above noise",
    "not": "not above noise",
}


def figures_of(stage: Stage, manifest: Manifest) -> list[str]:
    """Returns what a line about the stage's result says, each part short and complete in itself."""
    try:
        return _FIGURES[stage](manifest)
    except LoraparError as error:
        # The run does not end for a line of its display; whoever needs the figures says the same.
        return [f"figures cannot be read: {error.found}"]


def _classify(manifest: Manifest) -> list[str]:
    counts = manifest.record(ClassifyRecord).counts
    others = {
        "held out": counts["heldout"],
        "undecided": counts["undecided"],
        "dropped": counts["dropped"],
    }
    return [
        f"{counts['system1']:,} S1",
        f"{counts['system2']:,} S2",
        *(f"{number:,} {words}" for words, number in others.items() if number),
    ]


def _score(manifest: Manifest) -> list[str]:
    record = manifest.record(ScoreRecord)
    samples = " + ".join(
        f"{number:,} {_SHORT[System(system)]}"
        for system, number in record.counts["samples"].items()
        if number
    )
    total = sum(record.counts["samples"].values())
    noise = record.metrics.get("noise")
    return [
        *([f"{samples} {inflected(total, 'sample', 'samples')}"] if samples else []),
        counted(record.counts["elements"], "element"),
        *([] if noise is None else [_NOISE[noise["verdict"]]]),
    ]


def _partition(manifest: Manifest) -> list[str]:
    counts = manifest.record(PartitionRecord).counts
    total = counts["elements"] or 1
    return [
        f"{words} {counts['regions'][region] / total:.1%}" for region, words in _REGIONS.items()
    ]


def _train_sft(manifest: Manifest) -> list[str]:
    record = manifest.record(SftRecord)
    return [f"mean loss {record.metrics['loss']:.3f}", *_trained(record)]


def _train_rl(manifest: Manifest) -> list[str]:
    record = manifest.record(RlRecord)
    reward = record.metrics["reward"]
    return [*([] if reward is None else [f"reward {reward:.3f}"]), *_trained(record)]


def _trained(record: TrainingRecord) -> list[str]:
    counts = record.counts
    share = counts["active"] / (counts["elements"] or 1)
    return [counted(record.metrics["steps"], "step"), f"{share:.1%} active"]


def _eval(manifest: Manifest) -> list[str]:
    metrics = manifest.record(EvalRecord).metrics
    if (harness := metrics.get("harness")) is not None:
        tasks = {task["task"] for row in harness for task in row["tasks"]}
        return [counted(len(tasks), "task"), counted(len(harness), "model")]
    rows = metrics["models"]
    if not rows:
        return []
    systems = [(_SHORT[system], [_accuracy(row, system) for row in rows]) for system in System]
    known = [(name, course) for name, course in systems if any(each is not None for each in course)]
    if not known:
        known = [("accuracy", [row["accuracy"] for row in rows])]
    return [f"{name} {'>'.join(map(_percent, course))} %" for name, course in known]


def _accuracy(row: ModelRow, system: System) -> float | None:
    part = row.get("by_system", {}).get(system)
    return None if part is None else part["accuracy"]


def _percent(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{100 * accuracy:.1f}"


_FIGURES: dict[Stage, Callable[[Manifest], list[str]]] = {
    Stage.CLASSIFY: _classify,
    Stage.SCORE: _score,
    Stage.PARTITION: _partition,
    Stage.TRAIN_SFT: _train_sft,
    Stage.TRAIN_RL: _train_rl,
    Stage.EVAL: _eval,
}
