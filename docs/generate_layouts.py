"""Writes the table of public layouts to stdout; with `--update`, into docs/reference/data.md."""

import json
import sys
from pathlib import Path

from lorapar_cli.data.layouts import recognise
from lorapar_cli.data.readers import open_source
from lorapar_cli.data.rows import RowReader
from lorapar_cli.store.records import Record, read_jsonl

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "tests" / "data" / "layouts"
PAGE = ROOT / "docs" / "reference" / "data.md"
BEGIN, END = "<!-- layouts: written by `make docs` -->\n", "<!-- end of layouts -->\n"


def table() -> str:
    """Returns the Markdown table of all examples, each row as it becomes a record."""
    lines = [
        "| layout | format | fields | prompt | completion | reference |",
        "|---|---|---|---|---|---|",
    ]
    for path in sorted(EXAMPLES.glob("*.jsonl")):
        rows = [row for _, row in read_jsonl(path)]
        records = open_source(str(path)).records()
        lines += [_line(path.stem, row, record) for row, record in zip(rows, records, strict=True)]
    return "\n".join(lines) + "\n"


def _line(name: str, row: dict, record: Record) -> str:
    cells = [
        name,
        f"`{recognise(RowReader(row)).name}`",
        ", ".join(f"`{field}`" for field in row),
        _prompt(record),
        _cell(record.completion),
        "; ".join(_cell(answer) for answer in record.accepted_answers) or "none",
    ]
    return f"| {' | '.join(cells)} |"


def _prompt(record: Record) -> str:
    if isinstance(record.prompt, str):
        return _cell(record.prompt)
    return "<br>".join(f"{message['role']}: {_message(message)}" for message in record.prompt)


def _message(message: dict) -> str:
    calls = [json.dumps(call["function"]) for call in message.get("tool_calls", [])]
    return " ".join(_cell(text) for text in (message["content"], *calls) if text)


def _cell(text: str) -> str:
    """Returns a text as code, one span a line, safe inside a table."""
    lines = [f"`{line}`" for line in text.replace("|", "\\|").splitlines() if line]
    return "<br>".join(lines)


def update() -> None:
    """Writes the table between the page's two marks."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + table() + END + after, encoding="utf-8")


if __name__ == "__main__":
    if "--update" in sys.argv:
        update()
    else:
        print(table(), end="")
