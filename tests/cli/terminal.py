"""A terminal of a given size: a command runs in it, and the screen is read as a person sees it."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from dataclasses import dataclass, field

_CONTROL = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]")


@dataclass
class Screen:
    """What was written, line by line from the first one, and what was there in between.

    Attributes:
        frames: The text of the screen before each time that the cursor went up.
        status: Exit code of the command; negative for a signal.
    """

    columns: int
    cells: list[list[str]] = field(default_factory=lambda: [[]])
    frames: list[str] = field(default_factory=list)
    raw: str = ""
    cursor_hidden: bool = False
    status: int | None = None
    _row: int = 0
    _column: int = 0

    @property
    def text(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self.cells).rstrip("\n")

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    def feed(self, text: str) -> None:
        """Takes in what a command writes; a control sequence that is not known fails."""
        self.raw += text
        place = 0
        while place < len(text):
            found = _CONTROL.match(text, place)
            assert found, f"not a known sequence: {text[place : place + 20]!r}"
            self._take(found)
            place = found.end()

    def _take(self, found: re.Match) -> None:
        if found[2] is not None:
            self._control(found[1], found[2])
        elif found[0] == "\r":
            self._column = 0
        elif found[0] == "\n":
            self._down()
        else:
            if self._column == self.columns:
                self._down()
                self._column = 0
            row = self.cells[self._row]
            row += [" "] * (self._column + 1 - len(row))
            row[self._column] = found[0]
            self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self.cells):
            self.cells.append([])

    def _control(self, numbers: str, what: str) -> None:
        if what == "A":
            if not self.frames or self.frames[-1] != self.text:
                self.frames.append(self.text)
            self._row -= int(numbers or 1)
            assert self._row >= 0
        elif what == "K":
            assert numbers == "2"
            self.cells[self._row] = []
        elif what in "hl" and numbers == "?25":
            self.cursor_hidden = what == "l"
        else:
            assert what == "m", f"not a known sequence: {numbers}{what}"


def run_in_terminal(
    command: list[str],
    columns: int = 80,
    rows: int = 24,
    interrupt_at: str | None = None,
    send: int = signal.SIGINT,
    typed: dict[str, str] | None = None,
    seconds: float = 60,
    **environment: str,
) -> Screen:
    """Returns the screen after a Python command.

    Args:
        command: Arguments of the interpreter.
        interrupt_at: Text; once it was written, the signal `send` is sent.
        typed: Text -> what is typed once it was written.
        environment: Variables, on top of those of the test.
    """
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "CI")}
    kept |= {"TERM": "xterm-256color", "PYTHONUNBUFFERED": "1"} | environment
    pid, descriptor = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.execve(sys.executable, [sys.executable, *command], kept)
    screen = Screen(columns)
    waiting = dict(typed or {})
    pending = b""
    ends = time.monotonic() + seconds
    try:
        while select.select([descriptor], [], [], max(ends - time.monotonic(), 0))[0]:
            try:
                pending += os.read(descriptor, 65536)
            except OSError:  # Linux's way to say that the other end is closed.
                break
            # A character or a sequence may be cut at the end of what was read.
            whole = re.sub(rb"(\x1b[^A-Za-z]*|[\xc0-\xff][\x80-\xbf]*)$", b"", pending)
            pending = pending[len(whole) :]
            screen.feed(whole.decode())
            if interrupt_at is not None and interrupt_at in screen.text:
                os.kill(pid, send)
                interrupt_at = None
            for prompt in [each for each in waiting if each in screen.raw]:
                os.write(descriptor, waiting.pop(prompt).encode())
        else:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"no end after {seconds} s:\n{screen.text}")
    finally:
        os.close(descriptor)
        screen.status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    screen.feed(pending.decode(errors="replace"))
    return screen
