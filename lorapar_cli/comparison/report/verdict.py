"""Whether the mask earned its keep, in one sentence, and the cheapest cell that is good enough."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lorapar_cli.comparison.cells import PAPER, RANDOM
from lorapar_cli.comparison.report.results import (
    DifferenceRow,
    Finding,
    Measure,
    Verdict,
    difference_of,
)
from lorapar_cli.comparison.schedule import StageOutcome
from lorapar_cli.names import Stage
from lorapar_cli.plurals import counted
from lorapar_cli.tools.markdown import title_of

_LEVEL = 0.05
# Means of equal figures in another order differ by rounding.
_DIGITS = 12
_PHASE = {Stage.TRAIN_SFT: "SFT", Stage.TRAIN_RL: "RL"}
_ALIKE = "not significantly different"
_FINDINGS: Mapping[str, tuple[Finding, str]] = {
    "better": ("earned", "earned its keep"),
    "worse": ("worse", "did not earn its keep"),
    _ALIKE: ("not shown", "did not show that it earns its keep"),
}


@dataclass(frozen=True)
class Judged:
    """A stage of a comparison, ready to be judged.

    Attributes:
        outcomes: Name -> outcome of the cells that have results.
        costs: Name -> what orders cells from cheap to dear: trained elements, then what choosing
            them takes.
        means: Name -> mean of the primary measure.
        base: The base model's.
        differences: Of the stage.
        margin: Share of the best cell's gain.
    """

    stage: Stage
    measure: Measure
    systems: Sequence[str]
    outcomes: Mapping[str, StageOutcome]
    costs: Mapping[str, tuple[int, int]]
    means: Mapping[str, float]
    base: float
    differences: Sequence[DifferenceRow]
    margin: float

    @property
    def sign(self) -> int:
        """1 where larger values are better, else -1."""
        return 1 if self.measure == "accuracy" else -1


def judge(stage: Judged) -> Verdict:
    """Returns the verdict on one stage."""
    finding, about_mask = _judge_mask(stage)
    verdict: Verdict = {
        "stage": stage.stage.value,
        "finding": finding,
        "measure": stage.measure,
        "systems": list(stage.systems),
        "best": None,
        "margin": None,
        "cheapest": None,
        "sentence": f"in {_PHASE[stage.stage]} {about_mask}",
    }
    if not stage.means:
        return verdict
    # Accuracies of few records are often equal: the cheapest of equals is the best.
    best = min(
        stage.means,
        key=lambda name: (round(-stage.sign * stage.means[name], _DIGITS), stage.costs[name]),
    )
    gain = stage.sign * (stage.means[best] - stage.base)
    verdict["best"] = best
    if gain <= 0:
        verdict["sentence"] += ", and no cell is better than the base model"
        return verdict
    margin = stage.margin * gain
    cheapest = next(
        name
        for name in sorted(stage.means, key=lambda name: stage.costs[name])
        if name == best or _is_good_enough(stage, name, best, margin)
    )
    verdict["margin"], verdict["cheapest"] = margin, cheapest
    elements = counted(stage.costs[cheapest][0], "trained element")
    verdict["sentence"] += (
        f", and the cheapest cell is the best one, `{best}` ({elements})"
        if cheapest == best
        else f", and the cheapest cell that is not worse than the best one, `{best}`, by more than "
        f"{margin:.3g} is `{cheapest}` ({elements})"
    )
    return verdict


def _is_good_enough(stage: Judged, name: str, best: str, margin: float) -> bool:
    """Returns whether a cell loses less than the margin, with 95 % confidence."""
    found = difference_of(stage.outcomes[best], stage.outcomes[name], stage.measure, stage.systems)
    if found is None:
        return False
    lost = found.high_one_sided if stage.sign == 1 else -found.low_one_sided
    return lost < margin


def _judge_mask(stage: Judged) -> tuple[Finding, str]:
    """Returns what `paper` against `random` shows, and in words."""
    if PAPER not in stage.means or RANDOM not in stage.means:
        missing = ", ".join(f"`{name}`" for name in (PAPER, RANDOM) if name not in stage.means)
        return "not compared", f"nothing can be said of the mask: there are no figures of {missing}"
    rows = [
        row
        for row in stage.differences
        if (row["cell"], row["against"]) == (PAPER, RANDOM)
        and row["measure"] == stage.measure
        and row["system"] in stage.systems
    ]
    if not rows:
        return "not compared", "nothing can be said of the mask: there are too few records"
    sizes = [stage.costs[name][0] for name in (PAPER, RANDOM)]
    size = "of the same size" if sizes[0] == sizes[1] else f"of {counted(sizes[1], 'element')}"
    mask = f"a random mask {size}"
    words = f"the {stage.measure} of `paper`"
    relations = [_relation(stage, row) for row in rows]
    # Where a stage trains on both systems, both must show it.
    relation = relations[0] if len(set(relations)) == 1 else None
    finding, verb = _FINDINGS[relation or _ALIKE]
    if len(rows) > 1:
        found = " and ".join(
            f"{each} on {title_of(row['system'])} ({_figures(row)})"
            for each, row in zip(relations, rows, strict=True)
        )
        text = f"{words}, compared with that of {mask} at 95 % confidence, is {found}"
    else:
        than = "cannot be told apart from" if relation == _ALIKE else f"is {relation} than"
        text = f"{words} {than} that of {mask} at 95 % confidence ({_figures(rows[0])})"
    return finding, f"the mask {verb}: {text}"


def _relation(stage: Judged, row: DifferenceRow) -> str:
    if row["p_holm"] >= _LEVEL:
        return _ALIKE
    return "better" if stage.sign * row["difference"] > 0 else "worse"


def _figures(row: DifferenceRow) -> str:
    p_value = f"p = {row['p_holm']:.3f}" if row["p_holm"] >= 0.001 else "p < 0.001"
    seeds = counted(row["seeds"], "seed")
    figures = (
        f"difference {row['difference']:+.3g}, 95 % interval {row['low']:+.3g} to "
        f"{row['high']:+.3g}, {p_value} after correction, {counted(row['records'], 'record')}, {seeds}"
    )
    if row["seeds"] == 1:
        figures += ", without the variance between trainings"
    return figures


def join_sentences(verdicts: Sequence[Verdict]) -> str:
    """Returns the verdicts of all stages as one sentence."""
    text = "; ".join(verdict["sentence"] for verdict in verdicts)
    return text[:1].upper() + text[1:]
