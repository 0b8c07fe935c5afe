"""After both stages, embedded model: splitter x replay, and recipes against each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evidence import runs
from evidence.comparisons import Asked, kept, outcomes_of, paired_rows, run_comparison
from evidence.sizes import StudySize
from evidence.studies import Study, Unit
from lorapar_cli.comparison.cells import PAPER
from lorapar_cli.comparison.report.results import Comparison
from lorapar_cli.comparison.schedule import StageOutcome
from lorapar_cli.names import Stage

Say = Callable[[str], None]
RL_PROMPTS = runs.RL["max_steps"] * runs.RL["per_device_batch_size"] // runs.RL["num_generations"]
EVERYTHING = "everything"


def _replaying(share: float, sft_source: str = "other") -> dict[str, Any]:
    """Returns a cell with replay in both stages; RL replays the other system's records."""
    return {
        "train-sft": {"replay": share, "replay_source": sft_source},
        "train-rl": {"replay": share},
    }


REPLAYS = {
    "replay-10": _replaying(0.1),
    "replay-30": _replaying(0.3),
    "self-30": _replaying(0.3, "self"),
}
"""Cells besides `paper`, which replays nothing; `self-30` replays the base model's own answers in SFT."""

RECIPES: dict[str, dict[str, Any]] = {
    "paper-replay": _replaying(0.3),
    "random-replay": {"partition": {"select": "random"}, **_replaying(0.3)},
    "full-replay": {"trains": "all", **_replaying(0.3)},
    "movement-replay": {
        "score": {"rule": "movement"},
        "partition": {"budget_s1": "20%", "budget_s2": "20%"},
        **_replaying(0.3),
    },
}
"""Candidates for a recipe that is better than the paper's, a random mask and full LoRA."""

YARDSTICKS = ("paper", "random", "full")


@dataclass(frozen=True)
class Size(StudySize):
    """How much is trained and measured, and which units there are."""

    no_results = StudySize.no_results | {"splitters", "replays", "recipes", "built_in"}

    sft_steps: int = 112
    splitters: tuple[str, ...] = runs.SPLITTERS
    replays: tuple[str, ...] = tuple(REPLAYS)
    recipes: tuple[str, ...] = tuple(RECIPES)
    built_in: tuple[str, ...] = ("paper", "random", "full", "movement")

    def sections(self) -> dict[str, dict[str, Any]]:
        """Returns the settings that all cells share."""
        return {
            "partition": {"theta": 0.9},
            "train-sft": {**runs.SFT, "learning_rate": 5e-3, "max_steps": self.sft_steps},
            "train-rl": {**runs.RL, "learning_rate": 1e-3, **(self.rl or {})},
        }


def _run(root: Path, splitter: str, size: Size) -> Any:
    return runs.embedded_run(
        root / f"run-{splitter}", splitter, per_system=size.per_system, samples=size.samples
    )


def replay_study(work: Path, size: Size, jobs: int, say: Say) -> Study:
    """Returns the study of splitters and replay; a unit for each splitter."""
    root = work / "replay"

    def unit(splitter: str) -> Unit:
        def measure(folder: Path) -> Mapping[str, Any]:
            own = {name: REPLAYS[name] for name in size.replays}
            asked = Asked(
                _run(root, splitter, size),
                size.options("both", jobs),
                size.sections(),
                (PAPER,),
                own,
            )
            comparison = run_comparison(asked, folder, say)
            outcomes = outcomes_of(asked, folder, comparison)
            other, outcomes[EVERYTHING] = _everything(root, size, jobs, say)
            pairs = [(name, PAPER) for name in own if name in outcomes]
            pairs += [(name, EVERYTHING) for name in (PAPER, *own) if name in outcomes]
            found = kept(comparison)
            found["cells"] += [row for row in kept(other)["cells"] if row["cell"] == EVERYTHING]
            found["differences"] = paired_rows(outcomes, pairs, Stage.TRAIN_RL)
            return {key: found[key] for key in ("measured", "base", "cells", "differences")}

        cells = {name: REPLAYS[name] for name in size.replays}
        return Unit(splitter, size.settings() | {"cells": cells}, measure)

    return Study(
        "replay",
        "Embedded model, both stages: splitter and replay",
        "python -m evidence replay",
        list(range(1, size.seeds + 1)),
        [unit(splitter) for splitter in size.splitters],
        {"records": size.per_system, "theta": 0.9, "RL prompts": RL_PROMPTS},
    )


def _everything(root: Path, size: Size, jobs: int, say: Say) -> tuple[Comparison, StageOutcome]:
    """Returns SFT of all elements on both systems, for as many records as both stages see."""
    batch = runs.SFT["per_device_batch_size"]
    rl = {**runs.RL, **(size.rl or {})}
    prompts = rl["max_steps"] * rl["per_device_batch_size"] // rl["num_generations"]
    steps = size.sft_steps + round(prompts / batch)
    cell = {"trains": "all", "train-sft": {"data": "all", "max_steps": steps}}
    folder = root / EVERYTHING
    folder.mkdir(parents=True, exist_ok=True)
    asked = Asked(
        _run(root, runs.TRUTH, size),
        size.options("sft", jobs),
        size.sections(),
        (PAPER,),
        {EVERYTHING: cell},
    )
    comparison = run_comparison(asked, folder, say)
    return comparison, outcomes_of(asked, folder, comparison)[EVERYTHING]


def recipes_study(work: Path, size: Size, jobs: int, say: Say) -> Study:
    """Returns the study of recipes: one unit, on the split that rules make."""
    root = work / "recipes"

    def measure(folder: Path) -> Mapping[str, Any]:
        own = {name: RECIPES[name] for name in size.recipes}
        asked = Asked(
            _run(root, "rules", size),
            size.options("both", jobs),
            size.sections(),
            size.built_in,
            own,
        )
        comparison = run_comparison(asked, folder, say)
        outcomes = outcomes_of(asked, folder, comparison)
        ours = [name for name in outcomes if name not in YARDSTICKS]
        pairs = [(name, against) for name in ours for against in YARDSTICKS if against in outcomes]
        found = kept(comparison)
        found["differences"] = paired_rows(outcomes, pairs, Stage.TRAIN_RL)
        found["recipes"] = own
        return found

    settings = size.settings() | {"cells": {name: RECIPES[name] for name in size.recipes}}
    return Study(
        "recipes",
        "Embedded model, both stages: recipes against each other",
        "python -m evidence recipes",
        list(range(1, size.seeds + 1)),
        [Unit("recipes", settings, measure)],
        {"records": size.per_system, "labels": "three rules' vote", "theta": 0.9},
    )
