"""What `inspect` shows of all but importance and masks: tables and lines of one screen."""

import json
import re
from typing import TYPE_CHECKING, Any

from lorapar_cli.cli.console import two_columns
from lorapar_cli.plurals import counted

if TYPE_CHECKING:
    from lorapar_cli.tools.inspecting.adapter import AdapterReport
    from lorapar_cli.tools.inspecting.artifact import Report
    from lorapar_cli.tools.inspecting.folders import ResultsReport, RunReport, StageReport
    from lorapar_cli.tools.inspecting.lines import FieldReport, LinesReport
    from lorapar_cli.tools.inspecting.tensors import WeightsReport
    from lorapar_cli.tools.inspecting.unfinished import ObjectReport, UnfinishedReport

_LONG = 360
_MOST_ROWS = 40
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_ELSEWHERE = "in full with `--json`"


def artifact_tables(report: "Report") -> list[Any]:
    """Returns tables and lines that fit 80 columns; `--json` has what is cut here."""
    if report["kind"] == "adapter":
        return _adapter(report)
    if report["kind"] == "weights":
        return _weights(report)
    if report["kind"] == "stage":
        return _stage(report)
    if report["kind"] == "unfinished":
        return _unfinished(report)
    if report["kind"] == "run":
        return _run(report)
    if report["kind"] == "object":
        return [_head(report), _table("content", _rows(report["content"]))]
    if "fields" in report:
        return _lines(report)
    if "results" in report:
        return [_head(report), _table("results", list(report["summary"].items()))]
    raise AssertionError(report["kind"])


def _head(
    report: (
        "AdapterReport | WeightsReport | StageReport | UnfinishedReport | RunReport "
        "| LinesReport | ResultsReport | ObjectReport"
    ),
) -> str:
    return f"{report['kind']}: `{report['path']}`"


def _adapter(report: "AdapterReport") -> list[Any]:
    rows = [
        ("method", report["method"]),
        ("written by", report["stage"] or "no stage"),
        ("base model", report["base_model"] or "not named"),
        *_tensors(report, report["bytes"]),
        ("layout fingerprint", report["layout_fingerprint"]),
    ]
    return [
        _head(report),
        two_columns("adapter", rows),
        *_sizes(report["by_kind"]),
        *_settings("settings", report["settings"], list(report["settings"])),
    ]


def _weights(report: "WeightsReport") -> list[Any]:
    files = report["files"]
    rows = [*_tensors(report, sum(files.values())), ("files", f"{len(files):,}")]
    if report["missing"]:
        rows.append(("missing", ", ".join(report["missing"])))
    return [
        _head(report),
        two_columns("weights", rows),
        *_sizes(report["by_kind"]),
        *_settings("header", report["metadata"], list(report["metadata"])),
        *_settings("config.json", report["config"], ["architectures", "model_type"]),
    ]


def _tensors(report: "AdapterReport | WeightsReport", size: int) -> list[tuple[str, str]]:
    tensors, elements = report["tensors"], report["elements"]
    kinds = ", ".join(report["dtypes"])
    rows = [
        ("tensors", f"{tensors:,}, {counted(elements, 'element')}" if tensors else "none"),
        ("size", " of ".join(part for part in (_size(size), kinds) if part)),
    ]
    if "tensor" in report:
        rows.append(("tensor", f"{report['tensor']} {report['shape']} {report['dtype']}"))
    return rows


def _size(count: int) -> str:
    return counted(count, "byte") if count < 2**20 else f"{count / 2**20:,.1f} MiB"


def _sizes(by_kind: dict[str, int]) -> list[Any]:
    rows = [(kind, f"{size:,}") for kind, size in by_kind.items()]
    return [_table("elements", rows)] if rows else []


def _stage(report: "StageReport") -> list[Any]:
    from lorapar_cli.tools.inspecting.folders import evaluated

    model = report["base_model"]
    seconds = report["seconds"]
    rows = [
        ("stage", report["stage"]),
        ("finished (UTC)", (report["ended"] or "").replace("T", " ")),
        ("took", "" if seconds is None else f"{seconds:,.0f} s"),
        ("lorapar", report["lorapar_version"]),
        ("base model", "none" if model is None else str(model["id"])),
        ("seed", "none" if report["seed"] is None else str(report["seed"])),
    ]
    outputs = [
        (name, report["damaged"].get(name) or counted(size, "byte"))
        for name, size in report["outputs"].items()
    ]
    metrics = dict(report["metrics"])
    accuracy = evaluated(metrics)
    if accuracy:
        metrics = {name: each for name, each in metrics.items() if name not in ("models", "pairs")}
    parts = [
        ("inputs", list(report["inputs"].items())),
        ("outputs", outputs),
        ("counts", _rows(report["counts"])),
        ("accuracy", list(accuracy.items())),
        ("metrics", _rows(metrics)),
    ]
    tables = [_table(title, listed) for title, listed in parts if listed]
    notes = [f"note: {note}" for note in report["notes"]]
    settings = _settings("settings", report["settings"], report["given"])
    return [_head(report), two_columns("manifest", rows), *settings, *tables, *notes]


def _unfinished(report: "UnfinishedReport") -> list[Any]:
    checkpoints = [
        (name, "complete" if complete else "not complete, or damaged")
        for name, complete in report["checkpoints"].items()
    ]
    files = [(name, counted(size, "byte")) for name, size in report["files"].items()]
    parts = [("checkpoints", checkpoints), ("files", files)]
    return [
        _head(report),
        *_settings("settings that it was begun with", report["settings"], []),
        *(_table(title, listed) for title, listed in parts if listed),
        "the command that began it continues it",
    ]


def _run(report: "RunReport") -> list[Any]:
    rows = [
        (row["stage"], ", ".join(part for part in (row["state"], row["what"]) if part))
        for row in report["stages"]
    ]
    return [_head(report), two_columns("stages", rows), "see also: lorapar status"]


def _lines(report: "LinesReport") -> list[Any]:
    rows = [(name, _field(each, report["lines"])) for name, each in report["fields"].items()]
    return [
        f"{_head(report)}, {counted(report['lines'], 'line')}, {counted(report['bytes'], 'byte')}",
        *([_table("fields", rows)] if rows else []),
    ]


def _field(each: "FieldReport", lines: int) -> str:
    parts = []
    if each["lines"] < lines:
        parts.append(f"in {counted(each['lines'], 'line')}")
    if each["null"]:
        parts.append(f"{each['null']:,} null")
    if each["values"] is not None:
        parts += [f"{value}: {count:,}" for value, count in each["values"].items()]
    if each["least"] is not None:
        parts.append(f"{each['least']:.4g} to {each['most']:.4g}, mean {each['mean']:.4g}")
    return "; ".join(parts) or "various"


def _settings(title: str, values: dict[str, Any], named: list[str]) -> list[Any]:
    """Returns a table with a row for each of some settings, and one for the others that are on."""
    own = [(name, values[name]) for name in named if name in values and values[name] is not False]
    others = {
        name: value
        for name, value in values.items()
        if name not in named and value not in (None, False, [], {}, "none")
    }
    off = len(values) - len(own) - len(others)
    rows = [(name, _short(value)) for name, value in own]
    if others:
        rows.append(("others", ", ".join(_short({name: each}) for name, each in others.items())))
    if off:
        rows.append(("off or empty", f"{off:,}, {_ELSEWHERE}"))
    return [_table(title, rows)] if rows else []


def _table(title: str, rows: list[tuple[str, str]]) -> Any:
    """Returns a table of labels and values that fits one screen."""
    left_out = len(rows) - _MOST_ROWS
    more = [("...", f"{left_out:,} more, {_ELSEWHERE}")] if left_out > 0 else []
    return two_columns(title, [*rows[:_MOST_ROWS], *more])


def _rows(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [(key, _short(value)) for key, value in values.items()]


def _short(value: Any) -> str:
    text = _DIGEST.sub(r"\1...", _in_words(value))
    left = len(text) - _LONG
    return text if left <= 0 else f"{text[:_LONG]} [... {counted(left, 'character')}]"


def _in_words(value: Any) -> str:
    """Returns a JSON value on one line without quotes, floats with six digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_in_words, value))}]"
    if isinstance(value, dict):
        inner = (
            f"{key} ({_in_words(each)})" if isinstance(each, dict) else f"{key} {_in_words(each)}"
            for key, each in value.items()
        )
        return ", ".join(inner)
    return json.dumps(value, ensure_ascii=False)
