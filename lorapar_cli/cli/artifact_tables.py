"""What `inspect` shows of adapters, stages, files of lines, results and run directories."""

import json
from typing import TYPE_CHECKING, Any

from lorapar_cli.cli.console import two_columns

if TYPE_CHECKING:
    from lorapar_cli.tools.inspecting.adapter import AdapterReport
    from lorapar_cli.tools.inspecting.artifact import Report
    from lorapar_cli.tools.inspecting.folders import ResultsReport, RunReport, StageReport
    from lorapar_cli.tools.inspecting.lines import FieldReport, LinesReport

_LONG = 200


def artifact_tables(report: "Report") -> list[Any]:
    """Returns tables and lines that fit 80 columns; `--json` has what is cut here."""
    if report["kind"] == "adapter":
        return _adapter(report)
    if report["kind"] == "stage":
        return _stage(report)
    if report["kind"] == "run":
        return _run(report)
    if "fields" in report:
        return _lines(report)
    if "results" in report:
        return [_head(report), two_columns("results", list(report["summary"].items()))]
    raise AssertionError(report["kind"])


def _head(report: "AdapterReport | StageReport | RunReport | LinesReport | ResultsReport") -> str:
    return f"{report['kind']}: `{report['path']}`"


def _adapter(report: "AdapterReport") -> list[Any]:
    rows = [
        ("method", report["method"]),
        ("written by", report["stage"] or "no stage"),
        ("base model", report["base_model"] or "not named"),
        ("tensors", f"{report['tensors']:,}, {report['elements']:,} elements"),
        ("size", f"{report['bytes'] / 2**20:,.1f} MiB of {', '.join(report['dtypes'])}"),
        ("layout fingerprint", report["layout_fingerprint"]),
    ]
    if "tensor" in report:
        rows.append(("tensor", f"{report['tensor']} {report['shape']} {report['dtype']}"))
    kinds = [(kind, f"{size:,}") for kind, size in report["by_kind"].items()]
    return [
        _head(report),
        two_columns("adapter", rows),
        two_columns("elements", kinds),
        two_columns("settings", _rows(report["settings"])),
    ]


def _stage(report: "StageReport") -> list[Any]:
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
        (name, report["damaged"].get(name) or f"{size:,} bytes")
        for name, size in report["outputs"].items()
    ]
    parts = [
        ("settings", _rows(report["settings"])),
        ("inputs", list(report["inputs"].items())),
        ("outputs", outputs),
        ("counts", _rows(report["counts"])),
        ("metrics", _rows(report["metrics"])),
    ]
    tables = [two_columns(title, listed) for title, listed in parts if listed]
    notes = [f"note: {note}" for note in report["notes"]]
    return [_head(report), two_columns("manifest", rows), *tables, *notes]


def _run(report: "RunReport") -> list[Any]:
    rows = [
        (row["stage"], ", ".join(part for part in (row["state"], row["what"]) if part))
        for row in report["stages"]
    ]
    return [_head(report), two_columns("stages", rows), "see also: lorapar status"]


def _lines(report: "LinesReport") -> list[Any]:
    rows = [(name, _field(each, report["lines"])) for name, each in report["fields"].items()]
    return [
        f"{_head(report)}, {report['lines']:,} lines, {report['bytes']:,} bytes",
        *([two_columns("fields", rows)] if rows else []),
    ]


def _field(each: "FieldReport", lines: int) -> str:
    parts = []
    if each["lines"] < lines:
        parts.append(f"in {each['lines']:,} lines")
    if each["null"]:
        parts.append(f"{each['null']:,} null")
    if each["values"] is not None:
        parts += [f"{value}: {count:,}" for value, count in each["values"].items()]
    if each["least"] is not None:
        parts.append(f"{each['least']:.4g} to {each['most']:.4g}, mean {each['mean']:.4g}")
    return "; ".join(parts) or "various"


def _rows(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [(key, _short(value)) for key, value in values.items()]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONG else f"{text[:_LONG]} [... {len(text) - _LONG:,} characters]"
