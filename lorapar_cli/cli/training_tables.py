"""What the training commands show of a result."""

from typing import Any

from lorapar_cli.cli.console import two_columns
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.training import DryRunRecord, TrainingRecord
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.tools.forgetting import stage_rows, stage_sentence
from lorapar_cli.tools.run_results import replay_in_words


def dry_run_tables(manifest: Manifest) -> list[Any]:
    """Returns what a dry run found: steps, learning rates, memory."""
    record = manifest.record(DryRunRecord)
    counts, metrics = record.counts, record.metrics
    rows = [
        ("records", f"{counts['trained_records']:,}"),
        ("steps", f"{metrics['steps']:,}"),
        ("active elements", f"{counts['active']:,} of {counts['elements']:,}"),
        ("processes", str(metrics["processes"])),
    ]
    rows += [
        (f"learning rate, step {step + 1}", f"{rate:.3g}")
        for step, rate in metrics["learning_rates"].items()
    ]
    rows += [
        (f"memory, {holder}", f"{size / 2**20:,.1f} MiB")
        for holder, size in metrics["bytes"].items()
    ]
    return [two_columns("dry run: nothing was trained or written", rows)]


def records_trained_on(manifest: Manifest) -> str:
    """Returns what a title calls the records of `--data`."""
    data = manifest.settings["data"]
    named = {"system1": "System-1 records", "system2": "System-2 records", "all": "all records"}
    return named.get(data, data)


def training_rows(manifest: Manifest, record: TrainingRecord) -> list[tuple[str, str]]:
    """Returns label and value of what both training stages report."""
    counts = record.counts
    share = counts["active"] / counts["elements"]
    return [
        (
            "records",
            ", ".join(f"{n:,} {system}" for system, n in counts["records"].items() if n)
            or f"{counts['trained_records']:,}",
        ),
        *_replay_rows(manifest, record),
        ("steps", str(record.metrics["steps"])),
        ("active elements", f"{counts['active']:,} of {counts['elements']:,} ({share:.1%})"),
        *_rate_rows(manifest, record),
        ("active that moved", f"{counts['active_moved']:,}"),
        ("frozen that moved", f"{counts['frozen_moved']:,} (checked bit by bit)"),
        *_watched_rows(record),
        ("time", f"{manifest.seconds():.0f} s"),
    ]


def _replay_rows(manifest: Manifest, record: TrainingRecord) -> list[tuple[str, str]]:
    """Returns what is replayed, if anything is."""
    if record.counts.get("replayed_records") is None:
        return []
    return [("replayed among them", replay_in_words(manifest))]


_SOURCES = {"default": "the paper's default", "given": "as given", "found": "found by `--find-lr`"}


def _rate_rows(manifest: Manifest, record: TrainingRecord) -> list[tuple[str, str]]:
    """Returns the learning rate with its source, and what a search for it tried."""
    metrics = record.metrics
    if "learning_rate" not in metrics or "learning_rate_from" not in metrics:
        return []
    source = _SOURCES[metrics["learning_rate_from"]]
    rows = [("learning rate", f"{metrics['learning_rate']:.3g}, {source}")]
    search = metrics.get("rate_search")
    if search is not None:
        rows.append(("its reason", search["reason"]))
        rows.append(
            (
                f"held-out {search['measure']} by rate",
                "; ".join(
                    [f"untrained {search['untrained']:.3f}"]
                    + [
                        f"{one['rate']:g}: "
                        + ("diverged" if one["value"] is None else f"{one['value']:.3f}")
                        for one in search["curve"]
                    ]
                ),
            )
        )
        rows.append(
            (
                "cost of the search",
                f"{counted(len(search['curve']), 'trial')}, {search['seconds']:.0f} s",
            )
        )
    return rows


def _watched_rows(record: TrainingRecord) -> list[tuple[str, str]]:
    """Returns the rows of a validation part; what was forgotten is said in a sentence."""
    found = record.metrics.get("validation")
    rows = [] if found is None else stage_rows([{"validation": found}])
    return [(label, cell) for label, cell in rows]


def watched_lines(record: TrainingRecord) -> list[str]:
    """Returns a sentence on what a stage made the model forget, where that was measured."""
    found = record.metrics.get("forgetting")
    return [] if found is None else [stage_sentence(found)]
