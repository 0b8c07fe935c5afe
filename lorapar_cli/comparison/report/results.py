"""From the measurements of all trainings to the tables of a comparison."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from lorapar_cli.comparison.cells import PAPER, RANDOM
from lorapar_cli.comparison.report.estimators import MeanDifference, holm, mean_difference
from lorapar_cli.comparison.schedule import StageOutcome
from lorapar_cli.comparison.trials import TrialResult
from lorapar_cli.names import Stage, System

Measure = Literal["loss", "accuracy"]
Finding = Literal["earned", "not shown", "worse", "not compared"]
_OTHER = {System.SYSTEM1.value: System.SYSTEM2.value, System.SYSTEM2.value: System.SYSTEM1.value}
ESTIMATOR = (
    "mean over held-out records and seeds of the difference between two cells, paired by record "
    "and seed; both are random effects: the variance of the mean is that clustered on records "
    "plus that between seeds less that of the rest, with Satterthwaite's degrees of freedom, and "
    "that clustered on records alone where the seeds add none; p-values are corrected by Holm for "
    "all comparisons of one measure in one stage, intervals are not corrected"
)


class Forgotten(TypedDict):
    """What a cell changes besides what it is trained for, as a mean over seeds.

    Keys:
        other_loss_change: Loss on the other system's held-out records minus the base model's; absent
            where the cell trains on both systems or there are no such records.
        kl: KL(base || adapter) per token on the new task's prompts, in nats.
        neutral_loss_change: Loss on neutral text minus the base model's.
    """

    other_loss_change: NotRequired[float]
    kl: float
    neutral_loss_change: float


class CellRow(TypedDict):
    """One cell in one stage, means over its seeds.

    Keys:
        diverged: Why there are no figures, in a cell whose trainings left the finite numbers or had
            no gradient.
        searched: Pairs of a learning rate and its value on the validation part, lower is better,
            None where training diverged.
        optimizer_bytes: Two float32 numbers per trained element, as of AdamW.
        loss: System -> nats per token of the completions.
        accuracy: System -> share of correct answers.
        seconds: Mean time of a measured training.
    """

    cell: str
    stage: str
    diverged: NotRequired[str]
    learning_rate: float
    searched: list[tuple[float, float | None]]
    seeds: list[int]
    active: NotRequired[int]
    elements: NotRequired[int]
    optimizer_bytes: NotRequired[int]
    loss: NotRequired[dict[str, float]]
    accuracy: NotRequired[dict[str, float]]
    forgetting: NotRequired[Forgotten]
    seconds: NotRequired[float]


class DifferenceRow(TypedDict):
    """One cell minus another on one measure; `p_holm` is corrected, intervals are not."""

    stage: str
    cell: str
    against: str
    measure: Measure
    system: str
    records: int
    seeds: int
    difference: float
    low: float
    high: float
    standard_error: float
    degrees_of_freedom: float
    p_value: float
    p_holm: float


class Verdict(TypedDict):
    """What a stage's comparison comes to.

    Keys:
        finding: Of `paper` against `random` on the primary measure, at 95 % confidence after
            correction.
        measure, systems: What is primary: the loss (SFT) or the accuracy (RL) on the records of the
            systems that the stage trains on.
        best: Cell with the best mean, the cheapest of several; None where no cell has results.
        margin: Non-inferiority margin in units of the measure.
        cheapest: Cheapest cell whose one-sided 95 % bound lies within the margin of the best;
            None where the best does not improve on the base model.
    """

    stage: str
    finding: Finding
    measure: Measure
    systems: list[str]
    best: str | None
    margin: float | None
    cheapest: str | None
    sentence: str


class BaseRow(TypedDict):
    """The base model: as `CellRow`, and its loss on the neutral text in nats per token."""

    loss: dict[str, float]
    accuracy: dict[str, float]
    neutral_loss: float


class Comparison(TypedDict):
    """The content of `results.json`.

    Keys:
        inputs: Path below the run directory -> sha256 of what was read of the run's stages.
        measured: System -> number of held-out records.
        folders: Stage -> cell -> folder of its trainings, below the comparison's.
        left_out: What did not fit into `--budget`, in words.
    """

    schema: int
    inputs: dict[str, str]
    settings: dict[str, Any]
    estimator: str
    measured: dict[str, int]
    base: BaseRow
    cells: list[CellRow]
    folders: dict[str, dict[str, str]]
    differences: list[DifferenceRow]
    verdicts: list[Verdict]
    sentence: str
    left_out: list[str]
    notes: list[str]


def cell_row(
    name: str, stage: Stage, outcome: StageOutcome, base: TrialResult, systems: Sequence[str]
) -> CellRow:
    """Returns a cell's row of one stage.

    Args:
        systems: That the stage trains on.
    """
    row: CellRow = {
        "cell": name,
        "stage": stage.value,
        "learning_rate": outcome.rate,
        "searched": [
            (rate, None if value == float("inf") else value)
            for rate, value in outcome.searched.items()
        ],
        "seeds": sorted(outcome.results),
    }
    results = [outcome.results[seed] for seed in row["seeds"]]
    failed = [each["diverged"] for each in results if "diverged" in each]
    if failed or not results:
        at_every_rate = f"at every learning rate: {'; '.join(outcome.failures)}"
        row["diverged"] = failed[0] if failed else at_every_rate
        return row
    first = results[0]
    row["active"], row["elements"] = first["active"], first["elements"]
    row["optimizer_bytes"] = 8 * first["active"]
    row["loss"] = _means([each["losses"] for each in results])
    row["accuracy"] = _means([each["correct"] for each in results])
    forgotten: Forgotten = {
        "kl": _mean([each["kl"] for each in results]),
        "neutral_loss_change": _mean([each["neutral_loss"] for each in results])
        - base["neutral_loss"],
    }
    if len(systems) == 1 and (other := _OTHER[systems[0]]) in row["loss"]:
        forgotten["other_loss_change"] = row["loss"][other] - _mean(base["losses"][other])
    row["forgetting"] = forgotten
    row["seconds"] = _mean([each["seconds"] for each in results])
    return row


def base_row(base: TrialResult) -> BaseRow:
    """Returns the base model's row."""
    return {
        "loss": _means([base["losses"]]),
        "accuracy": _means([base["correct"]]),
        "neutral_loss": base["neutral_loss"],
    }


def _means(of_seeds: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, float]:
    return {
        system: _mean([_mean(each[system]) for each in of_seeds]) for system in sorted(of_seeds[0])
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def pooled_mean(results: Sequence[TrialResult], measure: Measure, systems: Sequence[str]) -> float:
    """Returns the mean of a measure over trainings and the records of all these systems."""
    return _mean([_mean(_values(each, measure, systems)) for each in results])


def difference_of(
    first: StageOutcome, second: StageOutcome, measure: Measure, systems: Sequence[str]
) -> MeanDifference | None:
    """Returns how two cells differ, on the seeds that both have; None without two records.

    Args:
        systems: Whose records are taken together.
    """
    seeds = sorted(first.results.keys() & second.results.keys())
    if not seeds:
        return None
    columns = [
        [
            a - b
            for a, b in zip(
                _values(first.results[seed], measure, systems),
                _values(second.results[seed], measure, systems),
                strict=True,
            )
        ]
        for seed in seeds
    ]
    rows = list(zip(*columns, strict=True))
    return mean_difference(rows) if len(rows) > 1 else None


def _values(result: TrialResult, measure: Measure, systems: Sequence[str]) -> list[float]:
    by_system: Mapping[str, Sequence[float]] = (
        result["losses"] if measure == "loss" else result["correct"]
    )
    return [value for system in systems for value in by_system.get(system, [])]


def compare_cells(outcomes: Mapping[str, StageOutcome], stage: Stage) -> list[DifferenceRow]:
    """Returns every comparison against `random` and `paper` in one stage, corrected by measure.

    Args:
        outcomes: Name -> outcome of each cell that has results.
    """
    rows: list[DifferenceRow] = []
    for measure in ("loss", "accuracy"):
        found: list[DifferenceRow] = []
        for cell, against in _pairs(list(outcomes)):
            for system in System:
                difference = difference_of(
                    outcomes[cell], outcomes[against], measure, [system.value]
                )
                if difference is not None:
                    found.append(_to_row(stage, cell, against, measure, system.value, difference))
        for row, corrected in zip(found, holm([row["p_value"] for row in found]), strict=True):
            row["p_holm"] = corrected
        rows += found
    return rows


def _pairs(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields each cell with each of the two it is compared with, no pair twice."""
    for against in (RANDOM, PAPER):
        for name in names:
            repeated = name == RANDOM and against == PAPER
            if against in names and name != against and not repeated:
                yield name, against


def _to_row(
    stage: Stage, cell: str, against: str, measure: Measure, system: str, found: MeanDifference
) -> DifferenceRow:
    return {
        "stage": stage.value,
        "cell": cell,
        "against": against,
        "measure": measure,
        "system": system,
        "records": found.records,
        "seeds": found.seeds,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "standard_error": found.standard_error,
        "degrees_of_freedom": found.degrees,
        "p_value": found.p_value,
        "p_holm": found.p_value,
    }
