"""Markdown tables and sections, and the format of figures in them."""

import re

from lorapar_cli.stage_records.evaluation import Accuracy, HarnessRow, PassAtK
from lorapar_cli.store.manifest import Manifest

# What Markdown reads as markup; a `_` inside a word is none.
_SPECIAL = re.compile(r"[\\`*\[\]<>$]|(?<![^\W_])_|_(?![^\W_])")


def table(heads: list[str], rows: list[list[str]], text: int = 1) -> str:
    """Returns a Markdown table whose first `text` columns are words and the others figures."""
    lines = [heads, ["---" if n < text else "---:" for n in range(len(heads))], *rows]
    return "\n".join("| " + " | ".join(map(_escape, line)) + " |" for line in lines)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def literal(text: str) -> str:
    """Returns a name that others have chosen, such as a path, as Markdown that shows it as it is."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def shown(heading: str) -> str:
    """Returns what is seen of a heading with names from `literal`."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", heading)


def code(text: str) -> str:
    """Returns text as code."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def title_of(system: str) -> str:
    """Returns a name of records as words: `system1` as "System 1"."""
    return system.replace("system", "System ").replace("_", " ")


def accuracy_cell(part: Accuracy) -> str:
    """Returns an accuracy with its interval; an empty string where there is none."""
    if part["accuracy"] is None:
        return ""
    low, high = part["interval"]
    return f"{100 * part['accuracy']:.1f} % ({100 * low:.1f} to {100 * high:.1f}, n={part['n']:,})"


def pass_cell(part: PassAtK) -> str:
    """Returns pass@k with its interval."""
    low, high = part["interval"]
    return f"{100 * part['pass_rate']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def harness_table(rows: list[HarnessRow]) -> str:
    """Returns the harness's own metrics with standard errors, a line per task and metric."""
    lines = []
    for number, task in enumerate(rows[0]["tasks"]):
        for place, metric in enumerate(task["metrics"]):
            found = [row["tasks"][number]["metrics"][place] for row in rows]
            values = [
                ""
                if each["value"] is None
                else f"{each['value']:.4f}"
                + ("" if each["stderr"] is None else f" ± {each['stderr']:.4f}")
                for each in found
            ]
            lines.append([task["task"], f"{metric['metric']}, {metric['filter']}", *values])
    return table(
        ["task", "metric, filter", *(literal(row["model"]) for row in rows)], lines, text=2
    )


def list_notes(manifest: Manifest) -> str:
    """Returns a manifest's notes as a list."""
    return "\n".join(f"- {note}" for note in manifest.notes)


def section(title: str, *parts: str) -> str:
    """Returns a section with the parts that are not empty."""
    return "\n\n".join([f"## {title}", *(part for part in parts if part)])
