"""The closing report of `run` and `demo`: what was reached, by what, and where it lies."""

from pathlib import Path

from lorapar_cli.names import Region, Stage

_MODELS = {"base": "base", "sft": "after SFT", "rl": "after RL"}
_SYSTEMS = {"system1": "System 1", "system2": "System 2"}


def closing_report(root: Path, outcomes: dict) -> list:
    """Returns the tables and lines that close a run.

    Args:
        root: The run directory.
        outcomes: Stage -> Outcome of all six stages.
    """
    manifests = {stage: outcome.manifest for stage, outcome in outcomes.items()}
    folder = outcomes[Stage.EVAL].folder
    return [
        _accuracy_table(manifests[Stage.EVAL]),
        _elements_table(manifests),
        _time_table(manifests),
        *_replay_lines(manifests),
        f"accuracies, intervals, differences: {folder / 'results.json'}",
        f"every answer: {folder / 'samples.jsonl'}",
        f"trained adapter (PEFT): {root / Stage.TRAIN_RL / 'adapter'}",
        f"next: lorapar status --run-dir {root}, or lorapar eval --run-dir {root} --data YOURS.jsonl",
    ]


def _accuracy_table(manifest):
    from rich.table import Table

    table = Table(
        title=f"greedy accuracy on {manifest.counts['items']} held-out records, 95 % intervals",
        title_justify="left",
    )
    table.add_column("model")
    for system in _SYSTEMS.values():
        table.add_column(system, justify="right")
    for entry in manifest.metrics["models"]:
        by_system = entry.get("by_system", {})
        cells = [_accuracy(by_system[s]) if s in by_system else "-" for s in _SYSTEMS]
        table.add_row(_MODELS.get(entry["model"], entry["model"]), *cells)
    return table


def _accuracy(entry: dict) -> str:
    if entry["accuracy"] is None:
        return "-"
    low, high = entry["interval"]
    return f"{entry['accuracy']:.1%}  ({low:.1%} to {high:.1%}, n={entry['n']})"


def _elements_table(manifests: dict):
    from lorapar_cli.cli.console import two_columns

    counts = manifests[Stage.PARTITION].counts
    total = counts["elements"]

    def share(number: int) -> str:
        return f"{number:,} ({number / total:.1%})"

    rows = [
        ("LoRA elements", f"{total:,}"),
        ("active in SFT", share(manifests[Stage.TRAIN_SFT].counts["active"])),
        ("active in RL", share(manifests[Stage.TRAIN_RL].counts["active"])),
    ]
    rows += [(f"region {region}", share(counts["regions"][region])) for region in Region]
    return two_columns("elements", rows)


def _replay_lines(manifests: dict) -> list[str]:
    """Returns what must be known of the records that each training stage saw."""
    return [
        f"{stage} trained on {share:.0%} records of the other system as well (--replay {share})"
        for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL)
        if (share := manifests[stage].settings["replay"])
    ]


def _time_table(manifests: dict):
    from lorapar_cli.cli.console import two_columns

    seconds = {stage: manifest.seconds() or 0.0 for stage, manifest in manifests.items()}
    rows = [(stage.value, f"{value:.0f} s") for stage, value in seconds.items()]
    return two_columns("time", [*rows, ("all stages", f"{sum(seconds.values()):.0f} s")])
