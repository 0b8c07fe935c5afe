"""The tables of `eval`: accuracy, further figures, problems, differences, and what they depend on."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lorapar_cli.cli.forgetting_tables import forgetting_table, measured
from lorapar_cli.evaluation.settings import accuracy_of
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.stage_records.evaluation import (
    Accuracy,
    Difference,
    EvalRecord,
    HarnessMetric,
    HarnessRow,
    ModelRow,
    PairRow,
)
from lorapar_cli.store.manifest import Manifest

if TYPE_CHECKING:
    from rich.table import Table

    from lorapar_cli.evaluation.review.pair import RunDifference

_PER_SUBJECT = "mmlu"
_DIGITS = 12
# `local:` and sixteen digits, or the beginning of a commit.
_REVISION = 22


def render(manifest: Manifest) -> list[Any]:
    """Returns the tables of an evaluation, and lines that say what its figures depend on."""
    record, settings = manifest.record(EvalRecord), manifest.settings
    models, pairs = record.metrics["models"], record.metrics["pairs"]
    if (harness := record.metrics.get("harness")) is not None:
        return [harness_table(harness, settings), "; ".join(_depends_on(manifest))]
    tables: list[Any] = [_accuracy_table(models, record.counts["items"], settings)]
    # Other tasks' answers may be words, which the strict rule never accepts; results.json has it.
    if figures := _figures(models, strict=settings["task"] == "gsm8k"):
        tables.append(_by_model("further figures, 95 % intervals", "figure", figures, models))
    if "by_group" in models[0]:
        tables.append(_group_table("group", [row["by_group"] for row in models], models))
    if "by_steps" in models[0]:
        tables.append(_group_table("steps", [row["by_steps"] for row in models], models))
    if "by_subject" in models[0]:
        tables.append(_group_table("subject", [row["by_subject"] for row in models], models))
    if pairs:
        tables.append(_difference_table(pairs))
    if forgotten := measured(models):
        tables.append(forgetting_table(forgotten, record.metrics.get("forgetting_seconds")))
    if problems := _problems(models):
        tables.append(_by_model("completions with a problem", "problem", problems, models))
    return [*tables, "; ".join(_depends_on(manifest))]


def harness_table(rows: Sequence[HarnessRow], settings: Mapping[str, Any]) -> "Table":
    """Returns the harness's own metrics, a row per task and metric and a column per model."""
    from rich.table import Table

    limit = settings["limit"]
    part = f", {_first(limit, 'task')}" if limit else ""
    table = Table(title=f"metrics of lm-evaluation-harness and their standard errors{part}")
    for heading in ("task", "metric", "n", *(row["model"] for row in rows)):
        table.add_column(heading, justify="left" if heading in ("task", "metric") else "right")
    for number, task in enumerate(rows[0]["tasks"]):
        for place, metric in enumerate(task["metrics"]):
            way = "" if metric["filter"] == "none" else f" ({metric['filter']})"
            values = [row["tasks"][number]["metrics"][place] for row in rows]
            size = f"{task['n']:,}" if task["n"] else ""
            table.add_row(task["task"], metric["metric"] + way, size, *map(_value, values))
    return table


def _value(metric: HarnessMetric) -> str:
    if metric["value"] is None:
        return "-"
    error = "" if metric["stderr"] is None else f" ± {metric['stderr']:.4f}"
    return f"{metric['value']:.4f}{error}"


def _first(limit: int, of: str) -> str:
    return f"first {inflected(limit, '', f'{limit:,} ')}of each {of}"


def _accuracy_table(models: list[ModelRow], items: int, settings: Mapping[str, Any]) -> "Table":
    from rich.table import Table

    limit = settings["limit"]
    part = f" ({_first(limit, 'subject')})" if limit and settings["task"] == _PER_SUBJECT else ""
    table = Table(
        title=f"accuracy ({accuracy_of(settings)}) on {counted(items, 'record')}{part}, 95 % intervals"
    )
    systems = list(models[0].get("by_system", {}))
    table.add_column("model")
    for heading in ("all", *map(heading_of, systems)):
        table.add_column(heading, justify="right")
    for row in models:
        by_system = row.get("by_system", {})
        table.add_row(row["model"], share(row), *(share(by_system[system]) for system in systems))
    return table


def _figures(models: Sequence[ModelRow], strict: bool) -> dict[str, list[str]]:
    """Returns name of a figure -> its value for each model."""
    figures: dict[str, list[str]] = {}
    if strict and "strict" in models[0]:
        figures["accuracy, strict match"] = [share(row["strict"]) for row in models]
    if "plain" in models[0]:
        figures["accuracy, plain match"] = [share(row["plain"]) for row in models]
    if "macro_accuracy" in models[0]:
        figures["mean of subjects"] = [f"{100 * row['macro_accuracy']:.1f}" for row in models]
    for k, first in models[0].get("pass_at_k", {}).items():
        of = "mean of" if k == "1" else "from"
        figures[f"pass@{k} ({of} {counted(first['draws'], 'draw')})"] = [
            percent(row["pass_at_k"][k]["pass_rate"], row["pass_at_k"][k]["interval"])
            for row in models
        ]
    for k in models[0].get("maj_at_k", {}):
        figures[f"maj@{k} (vote of {k} draw{'' if k == '1' else 's'})"] = [
            share(row["maj_at_k"][k]) for row in models
        ]
    return figures


_PROBLEMS = {
    "no_answer": "no answer found",
    "cut": "truncated",
    "syntax_error": "syntax error",
    "timeout": "timeout",
    "memory": "out of memory",
    "assertion": "assertion",
    "exception": "exception",
    "exit": "ended its process",
}


def _problems(models: Sequence[ModelRow]) -> dict[str, list[str]]:
    """Returns problem -> number of each model's completions, without those that none has."""
    if "problems" not in models[0]:
        return {}
    counted: list[dict[str, Any]] = [dict(row["problems"]) for row in models]
    rows = {
        words: [f"{each.get(key, 0):,}" for each in counted]
        for key, words in _PROBLEMS.items()
        if any(each.get(key) for each in counted)
    }
    if rows:
        rows["of completions"] = [f"{row['completions']:,}" for row in models]
    return rows


def _by_model(
    title: str, kind: str, rows: Mapping[str, list[str]], models: Sequence[ModelRow]
) -> "Table":
    """Returns a table with a row per figure and a column per model."""
    from rich.table import Table

    table = Table(title=title)
    table.add_column(kind)
    for row in models:
        table.add_column(row["model"], justify="right")
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _group_table(
    kind: str, accuracies: list[dict[str, Accuracy]], models: list[ModelRow]
) -> "Table":
    """Returns a table with a row per group.

    Args:
        accuracies: Of each model: group -> accuracy.
    """
    from rich.table import Table

    table = Table(title=f"accuracy by {kind}")
    for heading in (kind, "records", *(row["model"] for row in models)):
        table.add_column(heading, justify="left" if heading == kind else "right")
    for group, first in accuracies[0].items():
        shares = [share(by_group[group]) for by_group in accuracies]
        table.add_row(heading_of(group), f"{first['n']:,}", *shares)
    return table


def _difference_table(pairs: list[PairRow]) -> "Table":
    from rich.table import Table

    systems = list(pairs[0].get("by_system", {}))
    table = Table(title="paired differences in points, 95 % intervals, exact McNemar p")
    table.add_column("models")
    for heading in ("all", *map(heading_of, systems)):
        table.add_column(heading, justify="right")
    for pair in pairs:
        parts: list[Difference] = [pair, *(pair["by_system"][system] for system in systems)]
        table.add_row(f"{pair['model']} - {pair['against']}", *map(difference, parts))
    return table


def _depends_on(manifest: Manifest) -> list[str]:
    """Returns what the figures depend on, in words; results.json has all of it."""
    settings = manifest.settings
    data = [name for name in manifest.inputs if name.partition("/")[0] not in settings["models"]]
    said = [f"task {settings['task']}", f"match {settings['match']}"]
    if "base_model" in settings:
        base = settings["base_model"]
        revision = f" {base['revision'][:_REVISION]}" if base["revision"] else ""
        said.append(f"base model {base['id']}{revision}")
        shots, tokens = settings["num_fewshot"], settings["max_new_tokens"]
        said.append(
            f"style {settings['style']}"
            + ("" if shots is None else f", {counted(shots, 'example')}")
        )
        if settings["match"] != "likelihood" and tokens is not None:
            drawn = (
                f", {counted(settings['samples'], 'draw')}, temperature {settings['temperature']:g}"
            )
            said.append(counted(tokens, "token") + (drawn if settings["temperature"] else ""))
        said.append(f"backend {settings['backend']}, {settings['dtype']}")
        said += [f"template argument {each}" for each in settings["template_arg"]]
    if settings["sandbox"] is not None:
        said.append(f"sandbox {settings['sandbox']}")
    if settings["limit"]:
        said.append(f"limit {settings['limit']:,}")
    said += [f"{name} {manifest.inputs[name]['sha256'][:_DIGITS]}" for name in data[:2]]
    return [*said, f"seed {settings['seed']}"]


def heading_of(group: str) -> str:
    """Returns a group as words: `system1` as "System 1"."""
    return group.replace("system", "System ").replace("_", " ")


def share(part: Accuracy) -> str:
    """Returns an accuracy in per cent with its interval."""
    return "-" if part["accuracy"] is None else percent(part["accuracy"], part["interval"])


def percent(value: float, interval: Sequence[float]) -> str:
    """Returns a share in per cent with its interval."""
    low, high = interval
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def difference(part: "Difference | RunDifference") -> str:
    """Returns a difference in points with its interval and p-value."""
    low, high = part["interval"]
    p = part["p_value"]
    shown = "p<.001" if p < 0.001 else f"p={p:.3f}".replace("=0.", "=.")
    return f"{100 * part['difference']:+.1f} [{100 * low:.1f}, {100 * high:.1f}] {shown}"
