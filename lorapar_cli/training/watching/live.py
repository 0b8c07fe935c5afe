"""What a user sees of a training run besides its metrics: speed, memory and the latest course."""

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

_COURSE = 24
_TOKENS = "num_tokens"


class LiveFigures:
    """Figures of the moment that depend on this machine: they are shown and never written.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: tuple[float, float] | None = None

    def figures(self, logs: Mapping[str, Any]) -> list[str]:
        """Returns tokens a second since the last step, and the most memory so far."""
        found = []
        tokens = logs.get(_TOKENS)
        if tokens is not None:
            now = self._clock()
            if self._last is not None and tokens > self._last[0] and now > self._last[1]:
                speed = (tokens - self._last[0]) / (now - self._last[1])
                found.append(f"{speed:,.0f} tokens/s")
            self._last = tokens, now
        return [*found, f"peak {peak_bytes() / 2**30:.1f} GiB"]


def peak_bytes() -> int:
    """Returns the most memory that this process has used, on its GPU or else in main memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    # Linux counts in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def course(history: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """Returns the latest values of a figure, of at most `_COURSE` steps."""
    return [entry[key] for entry in history if key in entry][-_COURSE:]
