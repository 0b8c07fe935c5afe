"""What a user sees of a training run besides its metrics: speed, memory and the latest course."""

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

_COURSE = 24
_TOKENS = "num_tokens"


class StepClock:
    """Seconds that the steps themselves have taken, from where one ends to where the next one does.

    What happens between two steps, measuring, logs and checkpoints, is not counted. Waiting for the
    next batch is, and so is generation.

    Args:
        clock: Returns seconds.
        finish: Returns when the device has done what it was given.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        finish: Callable[[], None] | None = None,
    ) -> None:
        self._clock, self._finish = clock, finish or _finish_on_gpu
        self._since: float | None = None
        self.seconds = 0.0

    def go_on(self) -> None:
        """Counts from now on; if it counts already, from now instead."""
        self._since = self._clock()

    def stop(self) -> None:
        """Counts until now, and no more until it is told to go on."""
        if self._since is None:
            return
        # A GPU is given its work long before it has done it.
        self._finish()
        self.seconds += self._clock() - self._since
        self._since = None


class LiveFigures:
    """Figures of the moment that depend on this machine: they are shown and never written."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def figures(self, logs: Mapping[str, Any], seconds: float) -> list[str]:
        """Returns tokens a second since the last step, and the most memory so far.

        Args:
            seconds: That all steps so far have taken.
        """
        found = []
        tokens = logs.get(_TOKENS)
        if tokens is not None:
            if self._last is not None and tokens > self._last[0] and seconds > self._last[1]:
                speed = (tokens - self._last[0]) / (seconds - self._last[1])
                found.append(f"{speed:,.0f} tokens/s")
            self._last = tokens, seconds
        return [*found, f"peak {peak_bytes() / 2**30:.1f} GiB"]


def _finish_on_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_bytes() -> int:
    """Returns the most memory that this process has used, on its GPU or else in main memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    # Linux counts in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def course(history: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """Returns the latest values of a figure, of at most `_COURSE` steps."""
    return [entry[key] for entry in history if key in entry][-_COURSE:]
