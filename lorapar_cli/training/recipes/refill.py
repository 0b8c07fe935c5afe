"""GRPO that skips groups without a spread of rewards and fills their places from further prompts.

Every advantage of such a group is 0: it takes a place in the batch and teaches nothing.

Source: dynamic sampling, DAPO (arXiv 2503.14476, Sec. 3.2). Differs: what is left over is not drawn
from the stream of prompts but, by seed and step, from all records that the batch does not have yet,
so that a resumed run needs no memory of earlier steps; and the number of rounds is bounded, after
which groups without spread stay.
"""

import copy
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from trl import GRPOTrainer

from lorapar_cli.models.generation import finite_probabilities
from lorapar_cli.stage_records.training import RefillCost
from lorapar_cli.store.step_log import StepLog
from lorapar_cli.training.rewards.completion_log import CompletionLog, Line

COMPLETIONS, SECONDS = "refill/completions", "refill/seconds"
"""Keys of the trainer's logs: what refilling cost in a step, completions of all processes."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Refill:
    """How groups are refilled.

    Attributes:
        rows: All that prompts may be drawn from.
        ids: Record of each.
        group: Completions per prompt.
        limit: Rounds of further prompts for one batch.
        seed: Determines which prompts.
        log: `refill.jsonl`; None in processes that write nothing.
    """

    rows: Dataset
    ids: list[str]
    group: int
    limit: int
    seed: int
    log: StepLog | None


@dataclass(frozen=True)
class _Group:
    """The completions of one prompt, from all processes.

    Attributes:
        rows: The prompt's row, once for each completion.
        tokens: Of each completion.
        logprobs: Of the tokens, where the generating engine gives them.
        rewards: `[completions, rewards]`.
        lines: Of completions.jsonl.
        flat: Whether rewards have no spread.
    """

    rows: list[Row]
    tokens: list[list[int]]
    logprobs: list[Any] | None
    rewards: torch.Tensor
    lines: list[Line]
    flat: bool


class RefillingTrainer(GRPOTrainer):
    """To be listed before GRPOTrainer as a base class.

    Attributes:
        refill: None to train on every group.
        completion_log: The log of completions.
    """

    refill: Refill | None = None
    completion_log: CompletionLog
    # The groups of the batch that is being prepared, and which of their completions are this
    # process's; None while they are sampled.
    _ready: Sequence[_Group] | None = None
    _mine = slice(0)
    # Optimizer step and number within it of the last batch.
    _batches: tuple[int, int] = (-1, 0)

    def _generate_and_score_completions(self, inputs: list[Row]) -> dict[str, Any]:
        if self.refill is None or self.model is None or not self.model.training:
            return super()._generate_and_score_completions(inputs)
        groups = self._filled(inputs, self.refill)
        rank = self.accelerator.process_index
        self._mine = slice(rank * len(inputs), (rank + 1) * len(inputs))
        self._ready = groups
        try:
            return super()._generate_and_score_completions(self._of_mine("rows"))
        finally:
            self._ready = None

    def _of_mine(self, what: str) -> list[Any]:
        """Returns this process's part of all groups' rows, tokens or logprobs."""
        return [each for group in self._ready or () for each in getattr(group, what)][self._mine]

    def _generate_single_turn(self, *arguments: Any, **named: Any) -> tuple[Any, Any]:
        if self._ready is None:
            with finite_probabilities():
                return super()._generate_single_turn(*arguments, **named)
        known = self._ready[0].logprobs is not None
        return self._of_mine("tokens"), self._of_mine("logprobs") if known else None

    def _calculate_rewards(self, *arguments: Any, **named: Any) -> torch.Tensor:
        if self._ready is None:
            return super()._calculate_rewards(*arguments, **named)
        return torch.cat([group.rewards for group in self._ready])

    def _filled(self, inputs: list[Row], refill: Refill) -> list[_Group]:
        """Returns the groups to train on, those of the batch in their order unless they are flat."""
        # What is skipped must not show in the figures of what is trained on.
        metrics, seen = copy.deepcopy(self._metrics["train"]), self.state.num_input_tokens_seen
        self.completion_log.hold()
        groups = self._roll_out(inputs, refill.group)
        cost = total_cost([]) | {"groups": len(groups)}
        skipped: list[_Group] = []
        started = time.monotonic()
        further = self._further(refill, groups)
        for _ in range(refill.limit):
            rows = further.draw(count_flat(groups), self.accelerator.num_processes)
            if not rows:
                break
            found = self._roll_out(self._share(rows, refill.group), refill.group)
            cost["prompts"] += len(rows)
            cost["completions"] += len(found) * refill.group
            skipped += place(groups, found[: len(rows)])
        cost["flat"] = count_flat(groups)
        cost["seconds"] = round(time.monotonic() - started, 3)
        self._metrics["train"], self.state.num_input_tokens_seen = metrics, seen
        self._pending_extra_logs.clear()
        self._report(refill, cost)
        self.completion_log.write(
            [line for group in groups for line in group.lines],
            [line for group in skipped for line in group.lines],
        )
        return groups

    def _further(self, refill: Refill, groups: list[_Group]) -> "_Prompts":
        """Returns the prompts that may still be drawn for a batch."""
        step, number = self._batches
        number = number + 1 if step == self.state.global_step else 0
        self._batches = self.state.global_step, number
        there = {group.rows[0]["record_id"] for group in groups}
        return _Prompts(refill, f"{self.state.global_step} {number}", there)

    def _share(self, rows: list[Row], group: int) -> list[Row]:
        """Returns this process's part of further prompts, as whole groups, as many as any other's."""
        count = self.accelerator.num_processes
        own = -(-len(rows) // count)
        padded = rows + [rows[-1]] * (own * count - len(rows))
        first = self.accelerator.process_index * own
        return [row for row in padded[first : first + own] for _ in range(group)]

    def _roll_out(self, inputs: list[Row], group: int) -> list[_Group]:
        """Returns the groups of all processes' rows, in their order."""
        prompts = [row["prompt"] for row in inputs]
        _, tokens, _, completions, logprobs, *_ = self._generate(prompts)
        # All processes' rewards.
        rewards = self._calculate_rewards(inputs, prompts, completions, tokens)
        lines = self.completion_log.take()
        rows, tokens = gather_object(inputs), gather_object(tokens)
        logprobs = None if logprobs is None else gather_object(logprobs)
        by_reward = self.multi_objective_aggregation == "normalize_then_sum"
        flat = flat_groups(rewards, self.reward_weights, group, by_reward)
        parts = [slice(first, first + group) for first in range(0, len(rows), group)]
        return [
            _Group(
                rows[part],
                tokens[part],
                None if logprobs is None else logprobs[part],
                rewards[part],
                lines[part],
                flat[number],
            )
            for number, part in enumerate(parts)
        ]

    def _report(self, refill: Refill, cost: RefillCost) -> None:
        """Logs what refilling a batch cost."""
        self._metrics["train"][COMPLETIONS].append(cost["completions"])
        self._metrics["train"][SECONDS].append(cost["seconds"])
        if refill.log is not None:
            refill.log.append([{"step": self.state.global_step + 1, **cost}])


class _Prompts:
    """Further prompts for one batch, each drawn once at most.

    Args:
        batch: Identifies the batch among all of a run.
        there: Ids of the records that it has.
    """

    def __init__(self, refill: Refill, batch: str, there: set[str]) -> None:
        self._rows, self._ids, self._there = refill.rows, refill.ids, there
        self._seed = f"{refill.seed} refill {batch}"
        self._left: list[int] | None = None

    def draw(self, wanted: int, together: int) -> list[Row]:
        """Returns as many rows as are wanted, as far as there are any.

        Args:
            together: Number of processes that sample at once: none of them waits for the others, so
                that up to a multiple of it are drawn.
        """
        if not wanted:
            return []
        if self._left is None:
            self._left = [n for n, name in enumerate(self._ids) if name not in self._there]
            random.Random(self._seed).shuffle(self._left)
        count = -(-wanted // together) * together
        drawn, self._left = self._left[:count], self._left[count:]
        return [self._rows[index] for index in drawn]


def place(groups: list[_Group], found: Sequence[_Group]) -> list[_Group]:
    """Puts found groups that have a spread in the places of those that have none, in their order.

    Returns:
        What is not trained on: the groups that had the places, and those that got none.
    """
    left_out = []
    places = [number for number, group in enumerate(groups) if group.flat]
    for group in found:
        if group.flat or not places:
            left_out.append(group)
            continue
        number = places.pop(0)
        left_out.append(groups[number])
        groups[number] = group
    return left_out


def flat_groups(
    rewards: torch.Tensor, weights: torch.Tensor, group: int, by_reward: bool
) -> list[bool]:
    """Returns of each group whether its rewards have no spread, as TRL judges it.

    Args:
        rewards: `[completions, rewards]`, those of a group following one another.
        weights: `[rewards]`.
        by_reward: Whether each reward counts by itself, rather than their weighted sum.
    """
    values = rewards if by_reward else (rewards * weights.to(rewards.device)).sum(1, keepdim=True)
    spread = values.reshape(-1, group, values.shape[1]).std(dim=1)
    return [bool(flat) for flat in torch.isclose(spread, torch.zeros_like(spread)).all(1).tolist()]


def count_flat(groups: Sequence[_Group]) -> int:
    """Returns the number of groups without a spread."""
    return sum(group.flat for group in groups)


def total_cost(lines: Iterable[Mapping[str, Any]]) -> RefillCost:
    """Returns what refilling cost in a whole run, from the lines of refill.jsonl."""
    total: RefillCost = {"groups": 0, "prompts": 0, "completions": 0, "flat": 0, "seconds": 0.0}
    for line in lines:
        total["groups"] += line["groups"]
        total["prompts"] += line["prompts"]
        total["completions"] += line["completions"]
        total["flat"] += line["flat"]
        total["seconds"] += line["seconds"]
    return total
