"""A course of figures in one line of text, and a time in words."""

import math
from collections.abc import Sequence

_LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], encoding: str) -> str:
    """Returns one character a value, the lowest value lowest; nothing where it cannot be written.

    Args:
        values: Those that are not finite leave a gap.
        encoding: Of the stream; some have no such characters.
    """
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    try:
        _LEVELS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ""
    low, span = min(finite), max(finite) - min(finite)
    return "".join(_level(value, low, span) for value in values)


def _level(value: float, low: float, span: float) -> str:
    if not math.isfinite(value):
        return " "
    share = (value - low) / span if span > 0 else 0.0
    return _LEVELS[min(int(share * len(_LEVELS)), len(_LEVELS) - 1)]


def time_left(done: int, total: int | None, since: int, seconds: float) -> str:
    """Returns how long the rest will take, as `1:05:09` or `0:42`; empty where it is not known.

    Args:
        done, total: Units.
        since: Units that were done when the clock was started.
        seconds: Since then.
    """
    if total is None or done <= since or done >= total:
        return ""
    return clock(seconds / (done - since) * (total - done))


def clock(seconds: float) -> str:
    """Returns a duration as `1:05:09` or `0:42`."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{f'{hours}:{minutes:02}' if hours else minutes}:{whole % 60:02}"
