"""The studies that there are, and what their files of results say."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEVEL = 0.05
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Known:
    """A study as the page introduces it, whether or not there are results.

    Attributes:
        cpu_hours: Estimate for all of it.
    """

    name: str
    title: str
    command: str
    about: str
    cpu_hours: float


CATALOGUE = (
    Known(
        "embedded-sft",
        "Embedded model, SFT: rule and budget",
        "python -m evidence embedded-sft",
        "Which elements should SFT on System 1 train, and how many? Each cell has a learning rate of "
        "its own. Differences are in the loss on held-out System-1 records, against a random mask "
        "of the same size.",
        2.5,
    ),
    Known(
        "embedded-rl",
        "Embedded model, RL: rule and budget",
        "python -m evidence embedded-rl",
        "The same for GRPO on System 2, from one adapter after SFT. Differences are in the accuracy "
        "on held-out System-2 records.",
        3.5,
    ),
    Known(
        "recipes",
        "Embedded model, both stages: recipes against each other",
        "python -m evidence recipes",
        "SFT and then RL, measured on both systems. A recipe of ours is strong where it is better "
        "than `paper`, `random` and `full` in accuracy on both systems, after Holm's correction.",
        1.5,
    ),
    Known(
        "replay",
        "Embedded model, both stages: splitter and replay",
        "python -m evidence replay",
        "Whether the split or the replay of the other system's records protects a system, against "
        "SFT of every element on all records (`everything`), on as many of them.",
        3.0,
    ),
    Known(
        "tables",
        "The paper's tables on the embedded model",
        "python -m evidence tables",
        "The grids of `sample_configs/paper/`, means and standard deviations over seeds beside the "
        "published figures. Level and units of the two cannot be compared; the order of cells can.",
        4.0,
    ),
    Known(
        "authors",
        "Against the published script: five faults, one at a time",
        "python -m evidence authors",
        "The embedded model after both stages, each fault switched on by itself; differences are "
        "against the same training without it. `frozen-decay`: the optimizer owns whole matrices, "
        "weight decay moves frozen elements. `by-position`: the mask is read by position after "
        "matrices at `o_proj` were added. `gaussian-init`: A and B are drawn from N(0, 0.01), which "
        "changes the base model. `all-records`: both stages train on both systems. "
        "`attended-padding`: SFT attends to padding, which is on the left.",
        1.0,
    ),
    Known(
        "curve",
        "Share of elements by theta: of the gradients, or of the formula?",
        "python -m evidence curve",
        "Per cent of the elements that hold a share theta of importance, on the embedded model: by "
        "its gradients, by gradients that are random numbers of one size, and by random numbers "
        "with each matrix's own size.",
        0.1,
    ),
    Known(
        "real-noise",
        "Real model: is the partition above sampling noise?",
        "make real DATA=folder",
        "SmolLM2-135M-Instruct. Jaccard indices of top sets at theta 0.9: of two halves of one "
        "system's samples (within), of halves of different systems (between), of random sets "
        "(chance). The splitters label ARC and BoolQ (one step) mixed with GSM8K (many); the "
        "controls compare kinds of questions and forms of answers.",
        1.5,
    ),
    Known(
        "real-training",
        "Real model, SFT: does the mask pay?",
        "make real DATA=folder",
        "SmolLM2-135M-Instruct, SFT on ARC and BoolQ. Losses are on held-out records of ARC and "
        "BoolQ (S1) and of GSM8K (S2); `choices` is the share of ARC's test questions whose right "
        "option is the likeliest, about 25 % by chance.",
        4.0,
    ),
)


@dataclass(frozen=True)
class Results:
    """What a study has found.

    Attributes:
        content: Of its file; empty where there is none.
    """

    known: Known
    content: Mapping[str, Any]

    @property
    def units(self) -> Mapping[str, Any]:
        """Name -> what a finished unit found."""
        return {name: unit["result"] for name, unit in self.content.get("units", {}).items()}

    @property
    def unfinished(self) -> list[str]:
        """Names of units without results."""
        return list(self.content.get("unfinished", []))

    @property
    def complete(self) -> bool:
        """Whether every unit is finished."""
        return bool(self.units) and not self.unfinished

    @property
    def cpu_hours(self) -> float:
        """Processor time of the finished units."""
        spent = (unit["cpu_seconds"] for unit in self.content.get("units", {}).values())
        return float(sum(spent)) / 3600

    @property
    def cpu_at_least(self) -> bool:
        """Whether it is not all of their processor time: a call was killed, whose time is unknown."""
        return any(unit.get("cpu_at_least") for unit in self.content.get("units", {}).values())

    def differences(self) -> Iterator[tuple[str, Row]]:
        """Yields each unit's name with each of its differences."""
        for name, found in self.units.items():
            for row in found.get("differences", []):
                yield name, row


def read_results(folder: Path) -> dict[str, Results]:
    """Returns what every study of the catalogue has found, from the files in a folder."""
    found = {}
    for known in CATALOGUE:
        path = folder / f"{known.name}.json"
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        found[known.name] = Results(known, content)
    return found


def is_better(row: Row) -> bool | None:
    """Returns whether a difference is significantly to the good, None where not significant."""
    if row["p_holm"] >= LEVEL or row["difference"] == 0:
        return None
    return bool((row["difference"] < 0) == (row["measure"] == "loss"))
