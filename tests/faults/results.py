"""Lines of results, and the tables made of them."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PAGE = Path("docs/reliability.md")
BEGIN = "<!-- faults: begin -->"
END = "<!-- faults: end -->"


def append(path: Path, line: dict[str, Any]) -> None:
    """Appends one line to a file of results."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Returns the lines of earlier calls; one that a kill cut off is left out."""
    lines = []
    for file in sorted(folder.glob("[0-9]*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
    return lines


def table(results: Iterable[dict[str, Any]]) -> str:
    """Returns the results as a Markdown table, a row a kind and one of all."""
    counts: dict[str, Counter[str]] = {}
    seconds: Counter[str] = Counter()
    for line in results:
        counts.setdefault(line["kind"], Counter())[line["state"]] += 1
        seconds[line["kind"]] += line["seconds"]
    rows = ["| fault | tried | survived | lost | CPU minutes |", "|---|---:|---:|---:|---:|"]
    rows += [_row(kind, states, seconds[kind]) for kind, states in counts.items()]
    total = sum(counts.values(), Counter())
    rows.append(_row("**all**", total, seconds.total()))
    return "\n".join(rows)


def _row(kind: str, states: Counter[str], seconds: float) -> str:
    lost = states["lost"] + states["broken"]
    tried = states["survived"] + lost
    untried = f" ({states['untried']} not possible here)" if states["untried"] else ""
    return (
        f"| {kind}{untried} | {tried:,} | {states['survived']:,} | {lost:,} | {seconds / 60:.1f} |"
    )


def update_page(page: Path, results: list[dict[str, Any]], *, complete: bool, seed: int) -> None:
    """Writes the table of a complete run between the markers of a page.

    Raises:
        SystemExit: The run is not complete.
    """
    if not complete:
        raise SystemExit("error: not every case has been tried; run `python -m tests.faults` first")
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    head = (
        f"`python -m tests.faults --seed {seed}` gave this table, and "
        "`python -m tests.faults --update-docs` wrote it here:"
    )
    text = f"{before}{BEGIN}\n\n{head}\n\n{table(results)}\n\n{END}{after}"
    page.write_text(text, encoding="utf-8")
