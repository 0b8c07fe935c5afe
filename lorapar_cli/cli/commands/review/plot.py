"""`lorapar plot`."""

from pathlib import Path
from typing import Annotated

import typer

from lorapar_cli.cli.console import stdout
from lorapar_cli.cli.options import RunDirOption
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir


def plot(
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pictures. Default: the run directory.")
    ] = None,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
) -> None:
    """Draw loss, reward and other curves of the training stages."""
    from lorapar_cli.tools import plot as tool

    for path in tool.plot(RunDir(run_dir), out=out):
        stdout().print(str(path), soft_wrap=True, markup=False)
