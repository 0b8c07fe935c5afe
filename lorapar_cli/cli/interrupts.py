"""Ctrl-C ends a command wherever it arrives, also where Python cannot raise it."""

import select
import signal
import socket
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


def read_answer() -> str:
    """Returns a line from the terminal; empty where the person left it with Ctrl-D.

    Raises:
        KeyboardInterrupt: Ctrl-C, also one that arrives just before the wait for the line begins. Python
            raises it between two of its own steps only, and would not before the next key. So the
            wait is also for the byte that Python's handler of the signal writes.
    """
    reads, writes = socket.socketpair()
    with reads, writes:
        writes.setblocking(False)
        before = signal.set_wakeup_fd(writes.fileno())
        try:
            select.select([sys.stdin, reads], [], [])
        finally:
            signal.set_wakeup_fd(before)
    return sys.stdin.readline()
