"""`lorapar teachers`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lorapar_cli.cli.console import say, stdout


def teachers(
    teachers_file: Annotated[
        Path | None, typer.Option(help="YAML file with your own teachers under `teachers:`.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the list as JSON to stdout instead of a table.")
    ] = False,
) -> None:
    """List the teachers that `classify` knows by name, and what they lack."""
    from rich.table import Table

    from lorapar_cli.labelling.teachers.catalog import how_to_price, known_teachers

    known = known_teachers(teachers_file)
    if as_json:
        rows = [
            {
                "name": teacher.name,
                "kind": teacher.kind,
                "model": teacher.model,
                "base_url": teacher.base_url,
                "key_env": teacher.key_env,
                "structured": teacher.structured,
                "price": None if teacher.price is None else vars(teacher.price),
                "missing": teacher.missing(),
            }
            for teacher in known.values()
        ]
        print(json.dumps(rows, ensure_ascii=False))
        return
    table = Table()
    for name in ("teacher", "model", "dollars per million tokens in / out", "missing"):
        table.add_column(name)
    for teacher in known.values():
        price = teacher.price
        shown = "unknown" if price is None else f"{price.input:g} / {price.output:g}"
        shown += f" ({price.date})" if price is not None and price.date else ""
        free = teacher.kind == "rule"
        table.add_row(
            teacher.name, teacher.model, "free" if free else shown, teacher.missing() or ""
        )
    stdout().print(table)
    if unpriced := [teacher for teacher in known.values() if teacher.price is None]:
        say(f"where a price is unknown, {how_to_price(unpriced)}")
    say("also: `name=model@http://host:port/v1` for any OpenAI-compatible server, `hf:PATH`")
