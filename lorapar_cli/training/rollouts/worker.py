"""Where the completions of asynchronous GRPO come from: groups that a server writes ahead.

Threads ask the server for one group of completions each and hold what it wrote. Rewards are given
where the trainer takes a group, so that they run in its thread, as those of other trainings do.

The class is a worker of TRL's `AsyncGRPOTrainer`, and its own buffer. Differs from TRL's own: that
one scores in a process of its own, sums rewards without their weights, and keeps no completions.
"""

import queue
import random
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from trl.experimental.async_grpo.async_rollout_worker import RolloutSample

from lorapar_cli.training.callbacks import CLIPPED
from lorapar_cli.training.rewards.completion_log import Line
from lorapar_cli.training.rewards.load import WeightedRewards, call_reward
from lorapar_cli.training.rollouts.server import Completion, RolloutServer

_POLL_SECONDS = 0.1
_STOP_SECONDS = 10.0
# TRL's GRPOTrainer divides by the standard deviation plus this.
_EPSILON = 1e-4

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RolloutPlan:
    """What is asked for.

    Attributes:
        rows: Prompts: `tokens`, `prompt` and what rewards compare with, `record_id` among it.
        rewards: Name -> reward and weight.
        group: Completions of each prompt.
        sampling: How the server samples, as fields of its requests.
        ahead: Groups that are being written at once.
        seed: Determines the order of prompts, and the seed of each request.
    """

    rows: Sequence[Row]
    rewards: WeightedRewards
    group: int
    sampling: Mapping[str, Any]
    ahead: int
    seed: int


@dataclass(frozen=True)
class _Written:
    number: int
    version: int
    row: Row
    completions: list[Completion]


class Rollouts:
    """Groups of completions by a server, in the order in which they are finished.

    Args:
        decode: Returns the text of a completion's tokens.

    Attributes:
        model: Name of the adapter at the server, without its version; set before `start`.
        rollout_buffer, metrics_queue: What the trainer takes samples and figures from.
    """

    def __init__(
        self, server: RolloutServer, plan: RolloutPlan, decode: Callable[[list[int]], str]
    ) -> None:
        self._server, self._plan, self._decode = server, plan, decode
        self.model = ""
        self.rollout_buffer: Any = self
        self.metrics_queue: Any = queue.Queue()
        self._version, self._first = 0, 0
        self._written: queue.Queue[_Written] = queue.Queue(max(1, plan.ahead))
        self._scored: deque[RolloutSample] = deque()
        self._lines: list[Line] = []
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._threads: list[threading.Thread] = []
        self._failure: BaseException | None = None

    def begin_at(self, number: int) -> None:
        """Leaves out the groups before this one, which a resumed run has trained on."""
        self._first = number

    def start(self) -> None:
        """Starts to ask for completions."""
        order = _order(len(self._plan.rows), self._plan.seed, self._first)
        for _ in range(self._plan.ahead):
            thread = threading.Thread(target=self._write, args=(order,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Forgets what is being written."""
        self._stopping.set()
        self._server.close()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)

    def update_model_version(self, model_version: int) -> None:
        """Has the completions from now on written by this version of the adapter."""
        self._version = model_version

    def check_health(self, stale_after_s: float) -> None:
        """Raises what ended a thread.

        Args:
            stale_after_s: Not used: requests have a limit of their own.
        """
        if self._failure is not None:
            raise self._failure

    def qsize(self) -> int:
        """Returns the number of samples that are ready."""
        return len(self._scored) + self._written.qsize() * self._plan.group

    def get(self, timeout: float) -> RolloutSample:
        """Returns the next sample.

        Raises:
            queue.Empty: None came within `timeout` seconds.
            LoraparError: The server failed, or a reward did.
        """
        until = time.monotonic() + timeout
        while not self._scored:
            self.check_health(timeout)
            try:
                written = self._written.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if time.monotonic() > until:
                    raise
                continue
            self._scored.extend(self._score(written))
        return self._scored.popleft()

    def take_lines(self, step: int) -> list[Line]:
        """Returns the lines of completions.jsonl since the last time, as of this step."""
        lines, self._lines = self._lines, []
        return [{"step": step, **line} for line in lines]

    def _write(self, order: Iterator[tuple[int, int]]) -> None:
        try:
            while not self._stopping.is_set():
                with self._lock:
                    number, place = next(order)
                version, row = self._version, self._plan.rows[place]
                request = {
                    **self._plan.sampling,
                    "model": f"{self.model}-v{version}",
                    "prompt": row["tokens"],
                    "n": self._plan.group,
                    "seed": random.Random(f"{self._plan.seed} {number}").getrandbits(62),
                }
                self._put(_Written(number, version, row, self._server.complete(request)))
        except BaseException as failure:
            self._failure = failure

    def _put(self, written: _Written) -> None:
        while not self._stopping.is_set():
            try:
                return self._written.put(written, timeout=_POLL_SECONDS)
            except queue.Full:
                continue

    def _score(self, written: _Written) -> list[RolloutSample]:
        """Returns a group's samples, with what the trainer logs of each."""
        row, group = written.row, written.completions
        texts = [self._decode(one.tokens) for one in group]
        columns = {
            name: [value] * len(texts) for name, value in row.items() if name != "tokens"
        } | {"completion_ids": [one.tokens for one in group]}
        columns["prompts"] = columns.pop("prompt")
        references = columns["reference_answer"]
        finished = [not one.cut_off for one in group]
        values = {
            name: call_reward(name, reward, texts, references, columns, finished)
            for name, (reward, _) in self._plan.rewards.items()
        }
        totals = [
            sum(weight * values[name][i] for name, (_, weight) in self._plan.rewards.items())
            for i in range(len(texts))
        ]
        mean, spread = statistics.fmean(totals), statistics.stdev(totals)
        figures = {
            "reward_std": spread,
            "reward_std_group": spread,
            "frac_reward_zero_std": float(np.isclose(spread, 0)),
        }
        samples = []
        for i, one in enumerate(group):
            own = {name: values[name][i] for name in values}
            self._lines.append({"id": row["record_id"], "completion": texts[i], "rewards": own})
            prompt = row["tokens"]
            samples.append(
                RolloutSample(
                    prompt=row["prompt"],
                    completion=[{"role": "assistant", "content": texts[i]}],
                    input_ids=np.array([*prompt, *one.tokens], np.int64),
                    completion_mask=np.array([0] * len(prompt) + [1] * len(one.tokens), np.int64),
                    old_log_probs=np.array([0.0] * len(prompt) + one.logprobs, np.float32),
                    advantage=(totals[i] - mean) / (spread + _EPSILON),
                    model_version=written.version,
                    group_id=written.number,
                    metrics={
                        "reward": totals[i],
                        **figures,
                        "completions/mean_length": float(len(one.tokens)),
                        CLIPPED: float(one.cut_off),
                        **{f"rewards/{name}/mean": value for name, value in own.items()},
                    },
                    enqueued_at=time.time(),
                )
            )
        return samples


def _order(count: int, seed: int, first: int) -> Iterator[tuple[int, int]]:
    """Yields each group's number and the place of its prompt, in a new order every pass."""
    number = 0
    while True:
        places = list(range(count))
        random.Random(f"{seed} pass {number // count}").shuffle(places)
        for place in places:
            if number >= first:
                yield number, place
            number += 1
