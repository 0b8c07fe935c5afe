"""How much the studies on the embedded model train and measure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lorapar_cli.comparison.options import CompareOptions, StageChoice
from lorapar_cli.embedded import TEST_SET


@dataclass(frozen=True)
class StudySize:
    """What the studies have in common; the tests have smaller ones.

    Attributes:
        data: Records to measure on.
        rl: Settings of RL in place of the study's own.
    """

    # Where records lie decides no result; nor does which units there are.
    no_results: ClassVar[frozenset[str]] = frozenset({"data", "neutral"})

    per_system: int = 2000
    samples: int = 200
    seeds: int = 3
    max_rates: int = 5
    max_new_tokens: int = 64
    data: str = str(TEST_SET)
    neutral: Path | None = None
    rl: Mapping[str, Any] | None = None

    def settings(self) -> dict[str, Any]:
        """Returns what decides results."""
        return {key: value for key, value in vars(self).items() if key not in self.no_results}

    def options(self, stage: StageChoice, jobs: int = 1) -> CompareOptions:
        """Returns the options of a comparison of this size."""
        return CompareOptions(
            stage=stage,
            seeds=self.seeds,
            max_rates=self.max_rates,
            data=self.data,
            neutral=self.neutral,
            max_new_tokens=self.max_new_tokens,
            jobs=jobs,
        )
