"""Which step of a training is the best one so far, and whether it is time to stop."""

from collections.abc import Iterable, Mapping
from typing import Any

MEASURE = "validation"
"""Key of a step's line in the logs: the figure that steps are compared by."""


class Choice:
    """The best step by a figure, read from a run's logs: a resumed run chooses as a whole one.

    Of equal figures the earliest step is the best.

    Args:
        higher: Whether a higher figure is the better one.

    Attributes:
        best: Step and figure of the best evaluation so far; None before the first one.
        evaluations: Number of evaluations.
        without: Number of evaluations in a row since then that were not better.
    """

    def __init__(self, higher: bool) -> None:
        self._higher = higher
        self.best: tuple[int, float] | None = None
        self.evaluations = self.without = 0

    def restore(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Hears the evaluations of the steps before a resume."""
        for entry in history:
            if MEASURE in entry:
                self.hear(int(entry["step"]), float(entry[MEASURE]))

    def hear(self, step: int, value: float) -> bool:
        """Takes in an evaluation of an adapter that has moved; returns whether it is the best one."""
        self.evaluations += 1
        better = self.best is None or (
            value > self.best[1] if self._higher else value < self.best[1]
        )
        if better:
            self.best, self.without = (step, value), 0
        else:
            self.without += 1
        return better
