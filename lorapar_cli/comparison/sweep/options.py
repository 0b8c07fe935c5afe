"""Options of `sweep`, each stated once."""

from dataclasses import dataclass
from pathlib import Path

from lorapar_cli.limits import MOST_JOBS, MOST_SEEDS
from lorapar_cli.model_options import trust_option
from lorapar_cli.options import Options, option, required


@dataclass(frozen=True)
class SweepOptions(Options):
    """Options of `sweep`.

    Raises:
        UsageError: An option out of range.
    """

    grid: Path = required("YAML file of the grid.", argument=True)
    out: Path = option(
        Path("lorapar-sweep"),
        "Folder of everything that is made; grids that are given the same one share stages.",
    )
    embedded: bool = option(
        False, "Run the grid on the embedded tiny model and its corpus, in stages of minutes."
    )
    model: str | None = option(
        None, "Base model: a folder, a hub id, or `embedded`. Default: the file's."
    )
    seeds: int | None = option(
        None,
        "Number of seeds of each cell, from 0. Default: the file's, else 1.",
        at_least=1,
        at_most=MOST_SEEDS,
    )
    dry_run: bool = option(
        False, "List the cells and what they share; train and write nothing.", panel="Run"
    )
    budget: str | None = option(
        None,
        "Time that the command may take, such as `90m` or `2h`: the last cells are left out to fit.",
        panel="Run",
    )
    jobs: int = option(
        1,
        "Stages side by side, each in a process of its own, in turn on the visible GPUs.",
        at_least=1,
        at_most=MOST_JOBS,
        panel="Run",
    )
    allow_code_execution: bool = option(
        False, "Run programs that the model wrote, in a sandbox (humaneval)."
    )
    trust_remote_code: bool = trust_option()
