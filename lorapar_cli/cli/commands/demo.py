"""`lorapar demo`: the whole pipeline on the embedded model and corpus."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from lorapar_cli import embedded
from lorapar_cli.cli import console
from lorapar_cli.cli.commands.run import run_stages
from lorapar_cli.cli.config import read_config
from lorapar_cli.limits import LARGEST_SEED
from lorapar_cli.store.atomic import atomic_file


def demo(
    ctx: typer.Context,
    run_dir: Annotated[
        Path, typer.Option(envvar="LORAPAR_RUN_DIR", help="Run directory of the demo.")
    ] = Path("lorapar-demo"),
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the data and of every stage.")
    ] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Train again where settings or inputs changed.")
    ] = False,
) -> None:
    """Run all stages on the embedded tiny model: no network, no key, no GPU."""
    # A model this small gains nothing from more threads, and sums that are split over threads round
    # differently: on one thread the demo's figures do not depend on the number of cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    data = run_dir / "data" / "train.jsonl"
    _write_corpus(data, seed)
    config = Path(embedded.__file__).parent / "demo.yaml"
    content = read_config(config) | {"seed": seed}
    content["classify"] |= {"data": str(data)}
    content["eval"] |= {"data": str(embedded.TEST_SET)}
    console.say(f"demo: settings of `{config}`, results in `{run_dir}`")
    run_stages(ctx, content, run_dir, overwrite)


def _write_corpus(path: Path, seed: int) -> None:
    """Writes the embedded training records, unless they are already there."""
    from lorapar_cli.embedded.corpus import training_records

    text = "".join(json.dumps(record) + "\n" for record in training_records(seed))
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    with atomic_file(path) as file:
        file.write(text)
