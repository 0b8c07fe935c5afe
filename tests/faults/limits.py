"""Bounds on what runs, and how much longer it may take on a machine with other work."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Enough for whatever waits for another process's turn on a loaded machine.
_WAIT_SECONDS = 60.0
_PATIENCE = "LORAPAR_FAULTS_PATIENCE"


def be_patient(factor: float) -> None:
    """Lets what this process and those that it starts wait for take `factor` times as long."""
    os.environ[_PATIENCE] = str(factor)


def patience() -> float:
    """Returns the factor, 1 if nothing was said."""
    return float(os.environ.get(_PATIENCE, "1"))


class TooLong(BaseException):
    """What ran past its limit; no `except Exception` of the code under test catches it."""


@contextmanager
def processor_limit(seconds: float) -> Iterator[None]:
    """Raises TooLong inside the block after so much time of the processor, or a minute of waiting."""
    signal.signal(signal.SIGVTALRM, _stop)
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, _WAIT_SECONDS * patience())
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _stop(_: int, __: FrameType | None) -> None:
    raise TooLong
