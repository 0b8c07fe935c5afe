"""`lorapar classify`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from lorapar_cli.cli.console import (
    print_json,
    print_text,
    progress_display,
    say,
    show_outcome,
    stdout,
)
from lorapar_cli.cli.options import JsonOption, RunDirOption, given_options, next_on
from lorapar_cli.cli.stage_command import stage_command
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.classify import ClassifyCounts, ClassifyMetrics, ClassifyRecord
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir

if TYPE_CHECKING:
    from lorapar_cli.labelling.cost_estimate import CostEstimate


@stage_command(ClassifyOptions)
def classify(
    ctx: typer.Context,
    options: ClassifyOptions,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    as_json: JsonOption = False,
) -> Outcome | None:
    """Label records as System 1 or System 2 by the votes of several teachers."""
    from lorapar_cli.labelling import classify as stage
    from lorapar_cli.labelling.votes.journal import RESUME_HINT

    run = RunDir(run_dir)
    if options.dry_run:
        with progress_display() as progress:
            estimate = stage.estimate_cost(run, options, progress=progress)
        _show_estimate(estimate, as_json)
        return None
    try:
        with progress_display() as progress:
            outcome = stage.classify(run, options, given=given_options(ctx), progress=progress)
    except KeyboardInterrupt:
        say(RESUME_HINT)
        raise
    counts = outcome.manifest.record(ClassifyRecord).counts
    both = counts["system1"] and counts["system2"]  # A note says what to do without.
    show_outcome(outcome, as_json, _render, next_on(run_dir, "lorapar score") if both else None)
    return outcome


def _show_estimate(estimate: "CostEstimate", as_json: bool) -> None:
    if as_json:
        print_json(asdict(estimate))
        return
    for note in estimate.notes:
        say(f"note: {note}")
    stdout().print(_estimate_table(estimate))
    for message in estimate.messages:
        print_text(f"\n[{message['role']}]\n{message['content']}")
    say("dry run: nothing was asked or written")


def _estimate_table(estimate: "CostEstimate") -> Any:
    from rich.table import Table

    table = Table(title="questions to ask, estimated cost")
    table.add_column("teacher")
    columns = ("questions", "from journal", "prompt tokens", "answer tokens", "US dollars")
    for name in (*columns, "price date"):
        table.add_column(name, justify="right")
    for name, row in estimate.rows.items():
        table.add_row(
            name,
            f"{row['questions']:,}",
            f"{row['from_journal']:,}",
            f"{row['prompt_tokens']:,}",
            f"{row['completion_tokens']:,}",
            _money(row["cost"]),
            row["price_date"] or "",
        )
    return table


def _money(cost: float | None) -> str:
    return "unknown" if cost is None else f"{cost:.4f}"


def _render(manifest: Manifest) -> list[Any]:
    from rich.table import Table

    record = manifest.record(ClassifyRecord)
    counts, metrics = record.counts, record.metrics
    shown = {
        "records": counts["records"],
        "system1": counts["system1"],
        "system2": counts["system2"],
        "held out": counts["heldout"],
        "undecided": counts["undecided"],
        "contested": counts["contested"],
        "dropped": counts["dropped"],
    }
    labels = Table(title="labels")
    for name in shown:
        labels.add_column(name, justify="right")
    labels.add_row(*map(str, shown.values()))
    votes = [_votes_table(counts, metrics)] if counts["teachers"] else []
    return [labels, *votes, *_agreement_lines(metrics), *_saved_lines(counts)]


def _votes_table(counts: ClassifyCounts, metrics: ClassifyMetrics) -> Any:
    from rich.table import Table

    accuracy = metrics.get("accuracy")
    paid = any(row["prompt_tokens"] for row in counts["teachers"].values())
    votes = Table(title="votes")
    votes.add_column("teacher")
    heads = ["system1", "system2", "no vote", "asked", "from journal"]
    heads += ["prompt tokens", "answer tokens", "US dollars"] if paid else []
    for head in (*heads, *(["accuracy"] if accuracy else [])):
        votes.add_column(head, justify="right")
    for name, row in counts["teachers"].items():
        numbers = [row["system1"], row["system2"], row["no_vote"], row["asked"]]
        numbers += [row["from_journal"]]
        numbers += [row["prompt_tokens"], row["completion_tokens"]] if paid else []
        cells = [*map(str, numbers), *([_money(row["cost"])] if paid else [])]
        if accuracy:
            cells.append(f"{accuracy[name]:.3f}" if name in accuracy else "")
        votes.add_row(name, *cells)
    return votes


def _agreement_lines(metrics: ClassifyMetrics) -> list[str]:
    lines = []
    if metrics["krippendorff_alpha"] is not None:
        pairs = ", ".join(
            f"{pair.replace('|', ' and ')} {value:.2f}"
            for pair, value in metrics["pairwise_agreement"].items()
            if value is not None
        )
        lines.append(
            f"Krippendorff's alpha {metrics['krippendorff_alpha']:.3f}; agreement: {pairs}"
        )
    for name, hits in metrics.get("reliability", {}).items():
        lines.append(
            f"reliability of {name}: {hits['system1']:.3f} on System 1, "
            f"{hits['system2']:.3f} on System 2"
        )
    if accuracy := metrics.get("accuracy"):
        lines.append(
            f"accuracy of the vote against the data's own labels: {accuracy['vote']:.3f} "
            f"({counted(int(accuracy['records']), 'record')})"
        )
    return lines


def _saved_lines(counts: ClassifyCounts) -> list[str]:
    saved = counts["requests_saved"]
    parts = {
        "journal": saved["journal"],
        "economy": saved["economy"],
        "repeated records": saved["repeated_records"],
    }
    listed = ", ".join(f"{count} by {name}" for name, count in parts.items() if count)
    return [f"requests saved: {listed}"] if listed else []
