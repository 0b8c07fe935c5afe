"""Options of `compare`, each stated once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lorapar_cli.evaluation.options import Match
from lorapar_cli.limits import LARGEST_BATCH, LARGEST_SEED, MOST_JOBS, MOST_SEEDS, MOST_TOKENS
from lorapar_cli.model_options import trust_option
from lorapar_cli.options import Options, option

StageChoice = Literal["sft", "rl", "both"]


@dataclass(frozen=True)
class CompareOptions(Options):
    """Options of `compare`.

    Raises:
        UsageError: An option out of range.
    """

    stage: StageChoice = option(
        "sft",
        "What to compare in: `train-sft` (sft), `train-rl` from the run's adapter after SFT (rl), "
        "or `train-sft` followed by `train-rl` (both).",
    )
    cells: tuple[str, ...] = option(
        (),
        "Cells to train, comma-separated: built-in names, which leave out the others, and YAML "
        "files of further cells. Default: all built-in ones.",
    )
    seeds: int = option(
        3, "Trainings of each cell that are measured.", at_least=1, at_most=MOST_SEEDS
    )
    config: Path | None = option(
        None,
        "Configuration of `lorapar run` whose sections `partition`, `train-sft` and `train-rl` "
        "replace the settings that the run's stages were made with.",
    )
    max_rates: int = option(
        7,
        "Maximum number of learning rates tried per cell, half a decade apart; 1 trains with the "
        "configured rate.",
        at_least=1,
        at_most=100,
    )
    search_share: float = option(
        0.5, "Length of a training of the rate search, as a share of the whole.", above=0, at_most=1
    )
    validation: float = option(
        0.1,
        "Share of each system's training records, at most 200, that the rates are chosen on and "
        "that no cell trains on.",
        above=0,
        at_most=0.5,
    )
    margin: float = option(
        0.1,
        "Non-inferiority margin: share of the best cell's gain over the base model that a cheaper "
        "cell may lose.",
        at_least=0,
        at_most=1,
    )
    data: str | None = option(
        None, "Records to measure on. Default: those that `classify` held out."
    )
    neutral: Path | None = option(
        None, "Text on which forgetting is measured. Default: four chapters of a novel of 1865."
    )
    match: Match = option("answer", "When a completion is correct, as for `lorapar eval`.")
    max_new_tokens: int = option(
        256, "Tokens after which a completion is truncated.", at_least=1, at_most=MOST_TOKENS
    )
    batch_size: int = option(
        64, "Prompts per batch when measuring.", at_least=1, at_most=LARGEST_BATCH
    )
    seed: int = option(
        0,
        "Seed of the rate search and of the validation part; the measured trainings have the seeds "
        "after it.",
        at_least=0,
        at_most=LARGEST_SEED - MOST_SEEDS,
    )
    budget: str | None = option(
        None,
        "Time that the command may take, such as `90m` or `2h`: seeds, rates and cells are left "
        "out to fit.",
        panel="Run",
    )
    jobs: int = option(
        1,
        "Trainings side by side, each in a process of its own, in turn on the visible GPUs.",
        at_least=1,
        at_most=MOST_JOBS,
        panel="Run",
    )
    trust_remote_code: bool = trust_option()
