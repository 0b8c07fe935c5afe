"""Writes the JSON schemas of YAML files and of results into the package."""

import json
from pathlib import Path

import typer

from lorapar_cli.cli import main
from lorapar_cli.cli.schemas.config import run_schema, sweep_schema
from lorapar_cli.cli.schemas.outputs import output_schema

FOLDER = Path(main.__file__).parent / "schemas"


def schemas() -> dict[str, str]:
    """Returns name of file -> text."""
    main.register()
    commands = typer.main.get_command(main.app).commands
    written = {"run.schema.json": run_schema(commands), "sweep.schema.json": sweep_schema()}
    written["results.schema.json"] = output_schema()
    return {name: json.dumps(schema, indent=1) + "\n" for name, schema in written.items()}


def update() -> None:
    """Writes the files."""
    for name, text in schemas().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    update()
