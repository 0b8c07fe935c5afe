"""Rewards as TRL calls them, and the log of the completions that they were given for."""

import statistics
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from accelerate.utils import gather_object
from transformers import TrainerState

from lorapar_cli.events import Note, Progress
from lorapar_cli.store.step_log import StepLog
from lorapar_cli.training.rewards.builtin import Reward
from lorapar_cli.training.rewards.load import UserReward, call_reward

SAMPLE_STEPS = 20
SAMPLE_CHARACTERS = 300

Line = dict[str, Any]
"""A line of completions.jsonl."""


class CompletionLog:
    """Collects the rewards of a batch and writes its completions once all are in.

    Args:
        log: `completions.jsonl`; None in processes that write nothing.
        weights: Weight of each reward, in the order in which the trainer calls them.
        group: Completions per prompt, which follow one another.
        progress: Where a sample is shown now and then.

    Attributes:
        spread: Of the latest batch, the mean over groups of the standard deviation of rewards
            within a group; None before the first.
    """

    def __init__(
        self, log: StepLog | None, weights: Mapping[str, float], group: int, progress: Progress
    ) -> None:
        self._log, self._weights, self._group = log, weights, group
        self._names, self._progress = list(weights), progress
        self._pending: dict[str, list[float]] = {}
        self._held: list[Line] | None = None
        self.spread: float | None = None

    def add(
        self, name: str, values: list[float], ids: list[str], texts: list[str], state: TrainerState
    ) -> None:
        """Takes one reward's values for the batch; the last one's writes all processes' lines."""
        self._pending[name] = values
        if name != self._names[-1]:
            return
        lines = gather_object(
            [
                {
                    "step": state.global_step + 1,
                    "id": record_id,
                    "completion": text,
                    "rewards": {each: self._pending[each][row] for each in self._names},
                }
                for row, (record_id, text) in enumerate(zip(ids, texts, strict=True))
            ]
        )
        if self._held is None:
            self.write(lines)
        else:
            self._held += lines

    def hold(self) -> None:
        """Keeps the lines of the batches that follow, until they are taken."""
        self._held = []

    def take(self) -> list[Line]:
        """Returns the lines that were kept since the last time, of all processes in their order."""
        if self._held is None:
            raise AssertionError("lines are taken that nothing has held")
        taken, self._held = self._held, []
        return taken

    def write(self, used: list[Line], skipped: Sequence[Line] = ()) -> None:
        """Writes the lines of a batch that is trained on, behind those that were skipped for it.

        The lines that follow are written again as they come.
        """
        self._held = None
        sums = [
            sum(self._weights[each] * value for each, value in line["rewards"].items())
            for line in used
        ]
        self.spread = spread_within(sums, self._group)
        if self._log is not None:
            self._log.append([*(line | {"skipped": True} for line in skipped), *used])
            if (used[0]["step"] - 1) % SAMPLE_STEPS == 0:
                self._progress(Note(_describe_sample(used[0])))


def spread_within(rewards: Sequence[float], group: int) -> float:
    """Returns the mean over groups of the standard deviation (n - 1) of rewards within a group.

    Args:
        rewards: Those of one group follow one another.
        group: Size of each, at least 2.
    """
    groups = [rewards[first : first + group] for first in range(0, len(rewards), group)]
    return statistics.fmean(statistics.stdev(each) for each in groups)


def _describe_sample(line: Mapping[str, Any]) -> str:
    rewards = ", ".join(f"{name} {value:.3g}" for name, value in line["rewards"].items())
    text = line["completion"]
    shown = text if len(text) <= SAMPLE_CHARACTERS else text[:SAMPLE_CHARACTERS] + "..."
    return f"step {line['step']}, a completion of `{line['id']}` ({rewards}): {shown!r}"


def trl_reward(
    name: str, reward: Reward | UserReward, log: CompletionLog, ends: Container[int]
) -> Callable[..., list[float]]:
    """Returns `reward` as TRL calls it, checked and logged.

    Args:
        ends: Ids of the tokens that end a completion.
    """

    def compute(completions: list[Any], **columns: Any) -> list[float]:
        texts = [text_of(completion) for completion in completions]
        finished = [ids[-1] in ends for ids in columns["completion_ids"]]
        references = columns["reference_answer"]
        values = call_reward(name, reward, texts, references, columns, finished)
        log.add(name, values, columns["record_id"], texts, columns["trainer_state"])
        return values

    compute.__name__ = name
    return compute


def text_of(completion: str | list[dict[str, str]]) -> str:
    """Returns a completion's text from TRL's conversational or plain form."""
    return completion if isinstance(completion, str) else completion[-1]["content"]
