"""`lorapar teachers`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from lorapar_cli.cli.console import print_json, say, stdout
from lorapar_cli.cli.options import JsonOption

if TYPE_CHECKING:
    from lorapar_cli.labelling.teachers.teacher import Teacher


def teachers(
    teachers_file: Annotated[
        Path | None, typer.Option(help="YAML file that defines teachers under `teachers:`.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the teachers that `classify` knows by name, and what they lack."""
    from lorapar_cli.labelling.teachers.catalog import how_to_price, known_teachers

    known = list(known_teachers(teachers_file).values())
    if as_json:
        print_json([_describe(teacher) for teacher in known])
        return
    stdout().print(_table(known))
    if unpriced := [teacher for teacher in known if teacher.price is None]:
        say(f"for an unknown price, {how_to_price(unpriced)}")
    say(
        "also: `student` for the base model's own probabilities, "
        "`name=model@http://host:port/v1` for any OpenAI-compatible server, `hf:PATH`"
    )


class PriceRow(TypedDict):
    """US dollars per million tokens, as published on a date."""

    input: float
    output: float
    date: str | None


class TeacherRow(TypedDict):
    """A teacher that `classify` knows by name.

    Keys:
        kind: `rule`, `api` or `hf`.
        model: The provider's model name, a rule's name and version, or a folder.
        key_env: Environment variable of the key; None where none is needed.
        structured: Kind of structured output that the endpoint supports.
        missing: What it lacks here, in words; None for nothing.
    """

    name: str
    kind: str
    model: str
    base_url: str | None
    key_env: str | None
    structured: str
    price: PriceRow | None
    missing: str | None


def _describe(teacher: "Teacher") -> TeacherRow:
    return {
        "name": teacher.name,
        "kind": teacher.kind,
        "model": teacher.model,
        "base_url": teacher.base_url,
        "key_env": teacher.key_env,
        "structured": teacher.structured,
        "price": _price_row(teacher),
        "missing": teacher.missing(),
    }


def _price_row(teacher: "Teacher") -> PriceRow | None:
    price = teacher.price
    if price is None:
        return None
    return {"input": price.input, "output": price.output, "date": price.date}


def _table(known: "list[Teacher]") -> Any:
    from rich.table import Table

    table = Table()
    for name in ("teacher", "model", "US dollars per million tokens in / out", "missing"):
        table.add_column(name)
    for teacher in known:
        table.add_row(teacher.name, teacher.model, _price(teacher), teacher.missing() or "")
    return table


def _price(teacher: "Teacher") -> str:
    if teacher.kind == "rule":
        return "free"
    if teacher.price is None:
        return "unknown"
    date = f" ({teacher.price.date})" if teacher.price.date else ""
    return f"{teacher.price.input:g} / {teacher.price.output:g}{date}"
