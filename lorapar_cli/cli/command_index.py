"""The commands by name: where each is, and its line in `lorapar --help`, without importing any."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_HERE = "lorapar_cli.cli.commands"


@dataclass(frozen=True)
class Entry:
    """One command.

    Attributes:
        module: Below `lorapar_cli.cli.commands`.
        function: In the module.
        summary: First paragraph of the function's docstring.
    """

    module: str
    function: str
    summary: str

    def load(self) -> Callable[..., Any]:
        """Returns the command's function."""
        function: Callable[..., Any] = getattr(
            importlib.import_module(f"{_HERE}.{self.module}"), self.function
        )
        return function

    def stand_in(self) -> Callable[..., Any]:
        """Returns a function that is listed like the command and cannot be called."""

        def stand_in() -> None:
            raise AssertionError(f"`{self.function}` was called without being loaded")

        stand_in.__doc__ = self.summary
        return stand_in


COMMANDS = {
    "classify": Entry(
        "classify",
        "classify",
        "Label records as System 1 or System 2 by the votes of several teachers.",
    ),
    "score": Entry(
        "score",
        "score",
        "Create the LoRA adapter and compute every element's importance for both systems.",
    ),
    "partition": Entry(
        "partition",
        "partition",
        "Cut the importance into regions and write the mask of active elements.",
    ),
    "train-sft": Entry(
        "train_sft",
        "train_sft",
        "Train the elements active in SFT on System-1 records (stage 4).",
    ),
    "train-rl": Entry(
        "train_rl",
        "train_rl",
        "Train the elements active in RL by GRPO on System-2 records (stage 5).",
    ),
    "eval": Entry(
        "evaluate",
        "evaluate",
        "Measure the accuracy of the base model and every adapter, by system, with 95 % intervals.",
    ),
    "eval show": Entry(
        "review.show",
        "show",
        "Print completions of a finished evaluation: question, reference, answer found, and why.",
    ),
    "eval compare": Entry(
        "review.compare",
        "compare",
        "Pair two evaluations record by record: difference, exact McNemar test, what changed.",
    ),
    "compare": Entry(
        "compare",
        "compare",
        "Train the mask's rivals at equal size and say whether the mask pays.",
    ),
    "sweep": Entry(
        "sweep",
        "sweep",
        "Run every cell of a grid of settings, sharing stages, and lay out the table.",
    ),
    "recipes": Entry(
        "start.recipes",
        "recipes",
        "List the configurations that `lorapar init` can begin with.",
    ),
    "init": Entry(
        "start.init",
        "init",
        "Write a commented configuration for `lorapar run`, from a recipe.",
    ),
    "run": Entry(
        "run",
        "run",
        "Run all stages of CONFIG in order; stages that are up to date are skipped.",
    ),
    "demo": Entry(
        "demo",
        "demo",
        "Run all stages on the embedded tiny model: no network, no key, no GPU.",
    ),
    "status": Entry(
        "status",
        "status",
        "Show each stage of the run directory: done, stale, damaged, unreadable, unfinished or missing.",
    ),
    "inspect": Entry(
        "review.inspect",
        "inspect",
        "Show what a file or folder holds: importance, mask, adapter, stage, records, results, run.",
    ),
    "export": Entry(
        "export",
        "export",
        "Write an adapter or merged weights for use without lorapar, or upload them to the Hub.",
    ),
    "plot": Entry(
        "review.plot",
        "plot",
        "Draw loss, reward and other curves of the training stages.",
    ),
    "teachers": Entry(
        "teachers",
        "teachers",
        "List the teachers that `classify` knows by name, and what they lack.",
    ),
    "report": Entry(
        "review.report",
        "report",
        "Write a page with a run's results and how they were made, or a comparison of several runs.",
    ),
    "doctor": Entry(
        "doctor",
        "doctor",
        "Check this machine, or with `--model` the memory that a base model needs in each stage.",
    ),
}
"""In the order of `lorapar --help`."""

CALL_OTHERS = ("run", "demo", "init")
"""Commands that call others, by what the command line registers."""
