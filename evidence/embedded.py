"""Rule x budget on the embedded model: which elements should train, and how many?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evidence import runs
from evidence.comparisons import Asked, kept, run_comparison
from evidence.sizes import StudySize
from evidence.studies import Study, Unit

SFT_BUDGETS = {"0.05%": 0.15, "0.5%": 0.05, "2%": 0.015, "7%": 0.015, "20%": 0.005, "36%": 0.005}
"""Budget of each system's set -> rate that the search starts from; small sets need large rates."""

RL_BUDGETS = {"0.5%": 0.03, "7%": 3e-3, "36%": 1e-3}
RL_STEPS = 40
"""Fewer than the demo's 60: a budget takes some 80 trainings, and each cell's rate suits its length."""
BUILT_IN = ("paper", "random", "full", "rank", "movement", "bottom")
OWN = {rule: {"score": {"rule": rule}} for rule in ("snr", "migu", "gallop")}


@dataclass(frozen=True)
class Size(StudySize):
    """How much is trained and measured, and by which rules.

    Attributes:
        sft: Settings of SFT in place of the study's own.
    """

    seeds: int = 5
    max_rates: int = 7
    sft: Mapping[str, Any] | None = None
    built_in: tuple[str, ...] = BUILT_IN
    own: Mapping[str, Any] | None = None


def embedded_study(
    stage: str, work: Path, size: Size, jobs: int, say: Callable[[str], None]
) -> Study:
    """Returns the study of one stage, `sft` or `rl`; a unit for each budget."""
    budgets = SFT_BUDGETS if stage == "sft" else RL_BUDGETS
    name = f"embedded-{stage}"

    def unit(budget: str, rate: float) -> Unit:
        sections = {
            "partition": {"budget_s1": budget, "budget_s2": budget},
            "train-sft": {**runs.SFT, "learning_rate": rate, **(size.sft or {})},
            "train-rl": {
                **runs.RL,
                "max_steps": RL_STEPS,
                "learning_rate": rate,
                **(size.rl or {}),
            },
        }

        def measure(folder: Path) -> Mapping[str, Any]:
            run = runs.embedded_run(
                work / name / "run",
                runs.TRUTH,
                per_system=size.per_system,
                samples=size.samples,
                after_sft=stage == "rl",
            )
            options = size.options("sft" if stage == "sft" else "rl", jobs)
            own = OWN if size.own is None else size.own
            asked = Asked(run, options, sections, size.built_in, own)
            return kept(run_comparison(asked, folder, say))

        own_settings = {**size.settings(), "sections": sections, "stage": stage}
        return Unit(budget.replace("%", ""), own_settings, measure)

    title = "SFT" if stage == "sft" else "RL"
    steps = {} if stage == "sft" else {"steps": RL_STEPS}
    return Study(
        name,
        f"Embedded model, {title}: rule and budget",
        f"python -m evidence {name}",
        list(range(1, size.seeds + 1)),
        [unit(budget, rate) for budget, rate in budgets.items()],
        {
            "records": size.per_system,
            "samples": size.samples,
            "labels": "the corpus' own",
            "measured on": "the embedded test set",
            **steps,
        },
    )
