"""Ctrl-C ends a command wherever it arrives, also where Python cannot raise it."""

import signal
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

# Long enough for the callback to return; a person does not notice it.
_DELAY_SECONDS = 0.05


class _Unraisable(Protocol):
    exc_type: type[BaseException]
    exc_value: BaseException | None
    exc_traceback: TracebackType | None
    err_msg: str | None
    object: object


def _interrupt() -> None:
    """Sends the main thread a true signal, which ends its waiting too."""
    if (main := threading.main_thread().ident) is not None:
        signal.pthread_kill(main, signal.SIGINT)


class _Hook:
    """Repeats interrupts and leaves everything else to another hook."""

    def __init__(self, others: Callable[[_Unraisable], object]) -> None:
        self._others = others

    def __call__(self, unraisable: _Unraisable) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            self._others(unraisable)
            return
        # Not at once: it would be raised in this hook, and be ignored again.
        again = threading.Timer(_DELAY_SECONDS, _interrupt)
        again.daemon = True
        again.start()


def keep_interrupts() -> None:
    """Has an interrupt repeated that arrives in a finaliser or a callback of a library.

    Python reports an exception there as ignored and goes on: the command would not end.
    """
    if not isinstance(sys.unraisablehook, _Hook):
        sys.unraisablehook = _Hook(sys.unraisablehook)
