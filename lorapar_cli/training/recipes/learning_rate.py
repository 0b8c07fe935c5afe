"""The learning rate of a stage: its default, the one that was given, or one that a search finds."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from lorapar_cli.stage_records.training import RateMetrics, RateSearch
from lorapar_cli.training.jobs import Preparation
from lorapar_cli.training.masking.masked_adapter import MaskedAdapter
from lorapar_cli.training.options import TrainingOptions
from lorapar_cli.training.recipes.default_rate import rate_note, source_of_rate
from lorapar_cli.training.recipes.find_rate import Trials, find_rate, hold_out

Item = TypeVar("Item")
Chosen = TypeVar("Chosen", bound=TrainingOptions)
ToTrials = Callable[[list[Item], list[Item]], Trials]
"""From held-out items and the others to how trials are made."""


class LearningRate(Generic[Chosen]):
    """The learning rate of a stage.

    Args:
        given: Names of the options that the user gave.
        start: What the stage trains.
        notes: Where it is said if the default was made for many more elements.

    Attributes:
        options: The stage's, with the rate that it trains at.
    """

    def __init__(
        self,
        options: Chosen,
        given: Collection[str],
        start: MaskedAdapter,
        notes: list[str],
    ) -> None:
        self.options, self._notes = options, notes
        self._source = source_of_rate(options, given)
        self._search: RateSearch | None = None
        note = rate_note(options, self._source, start.active_count, start.element_count)
        if note is not None:
            notes.append(note)

    def find(
        self,
        preparation: Preparation,
        items: Sequence[Item],
        most: int,
        to_trials: ToTrials[Item],
    ) -> None:
        """Searches for the rate, if that is asked for.

        Args:
            items: What the stage trains on.
            most: Number of them to hold out from trials at most.
        """
        if not self.options.find_lr:
            return
        held, rest = hold_out(items, most, self.options.seed)
        self._search = find_rate(preparation, self.options, to_trials(held, rest))
        self.options = replace(self.options, learning_rate=self._search["rate"])
        if not self._search["found"]:
            self._source = "default"
            self._notes.append(f"`--find-lr`: {self._search['reason']}")

    def metrics(self) -> RateMetrics:
        """Returns what the stage records of the rate."""
        metrics: RateMetrics = {
            "learning_rate": self.options.learning_rate,
            "learning_rate_from": self._source,
        }
        if self._search is not None:
            metrics["rate_search"] = self._search
        return metrics
