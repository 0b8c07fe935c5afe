"""Answers of `init` that a pipe or a file brings, a line each."""

import os
import select
import stat
import sys

from lorapar_cli.errors import UsageError

# A shell starts both ends of a pipe at once, and Python takes longer than that to come here.
_WAIT_SECONDS = 0.5
_PIECE = 1 << 16


class PipedAnswers:
    """Lines that stdin holds already; nobody is waited for, so that a pipe left open blocks nothing."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._held, self._ended = descriptor, b"", False

    def __bool__(self) -> bool:
        """Returns whether there is anything to read."""
        self._fill()
        return bool(self._held)

    def ask(self, question: str, default: str) -> str:
        """Returns the next line, the default where it is empty.

        Raises:
            UsageError: There is none, or it is no text.
        """
        self._fill()
        if not self._held:
            raise UsageError(
                f"stdin has no answer to `{question}`",
                hint="one line for each question; an empty one takes the recipe's value",
            )
        line, _, self._held = self._held.partition(b"\n")
        try:
            return line.decode().strip() or default
        except UnicodeDecodeError as cause:
            raise UsageError(f"the answer to `{question}` is not UTF-8 text") from cause

    def _fill(self) -> None:
        """Reads until a line is whole, or nothing comes."""
        while not self._ended and b"\n" not in self._held and len(self._held) < _PIECE:
            if not select.select([self._descriptor], [], [], _WAIT_SECONDS)[0]:
                return
            piece = os.read(self._descriptor, _PIECE)
            self._ended = not piece
            self._held += piece


def piped_answers() -> PipedAnswers | None:
    """Returns the answers on stdin, None where it is a terminal, closed, or has nothing to read."""
    try:
        descriptor = sys.stdin.fileno()
        mode = os.fstat(descriptor).st_mode
    except (AttributeError, OSError, ValueError):
        return None
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return None
    return PipedAnswers(descriptor) or None
