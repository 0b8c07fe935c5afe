"""What a stage is doing at the moment: a line a task, more for a training, none too wide."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lorapar_cli.cli.display.words import cut, fit_lines
from lorapar_cli.cli.sparkline import clock, sparkline, time_left
from lorapar_cli.events import Advance
from lorapar_cli.text_safety import make_inert

_BAR = 10
_MOST_LINES = 6
# Columns below which a task with a course is drawn without a bar.
_WIDE = 100
# Columns below which such a task takes three lines instead of two.
_NARROW = 72
_SEPARATOR, _INDENT = " | ", "  "
_BARS = "━╸"


@dataclass
class _Task:
    event: Advance
    began: float
    since: int
    changed: float
    ended: float | None = None


@dataclass
class Tasks:
    """The tasks that were reported, in the order of their first reports.

    Any thread may report, while another one draws.

    Args:
        encoding: Of the stream; some have no characters to draw with.
        now: Returns seconds.
    """

    encoding: str = "utf-8"
    now: Callable[[], float] = time.monotonic
    _tasks: dict[str, _Task] = field(default_factory=dict)

    def advance(self, event: Advance) -> None:
        """Takes in one report."""
        now = self.now()
        task = self._tasks.get(event.task)
        if task is None:
            self.close()
            task = self._tasks[event.task] = _Task(event, now, event.done, now)
        task.event, task.changed = event, now
        finished = event.total is not None and event.done >= event.total
        task.ended = now if finished else None

    def close(self) -> None:
        """Ends the tasks without a total: such a one is over once another begins."""
        for task in self._known():
            if task.ended is None and task.event.total is None:
                task.ended = self.now()

    def clear(self) -> None:
        """Forgets all of them."""
        self._tasks.clear()

    def _known(self) -> list[_Task]:
        return list(self._tasks.values())

    def figure(self) -> str:
        """Returns the figure of the latest task that has a course, with the course drawn."""
        drawn = [task for task in self._known() if task.event.course]
        if not drawn:
            return ""
        event = max(drawn, key=lambda task: task.changed).event
        return make_inert(" ".join([*event.figures[:1], *self._course(event)]))

    def lines(self, width: int, running_only: bool = False) -> list[str]:
        """Returns the lines of each task, the latest ones where there are many.

        Args:
            width: In columns.
            running_only: Leaves out those that have ended, and the figures that `figure` returns.
        """
        shown = [task for task in self._known() if not (running_only and task.ended)]
        left_out = shown[:-_MOST_LINES]
        lines = [
            line for task in shown[-_MOST_LINES:] for line in self._lines(task, width, running_only)
        ]
        return [*([f"{len(left_out)} more above"] if left_out else []), *lines]

    def _lines(self, task: _Task, width: int, briefly: bool) -> list[str]:
        event = task.event
        figures = list(event.figures)
        if event.course and briefly:
            figures = figures[1:]
        elif event.course:
            # What a narrow terminal has room for belongs to figures.
            figures[0] = " ".join([figures[0], *self._course(event, width // 10)])
        bar = "" if event.course and width < _WIDE else self._bar(event)
        counted = f"{bar}{event.done:,} of {event.total:,}" if event.total else ""
        if event.total is None and event.done:
            counted = f"{event.done:,}"
        seconds = (self.now() if task.ended is None else task.ended) - task.began
        left = "" if task.ended else time_left(event.done, event.total, task.since, seconds)
        parts = [event.task, counted, f"{left} left" if left else clock(seconds)]
        parts += [*figures[:1], event.remark, *figures[1:]]
        # A name of others can hold anything; on a terminal a line is a line.
        safe = [make_inert(part).replace("\n", "\\n") for part in parts if part]
        # A training has more figures than a line has room for.
        most = 1 if not event.course else 2 if width >= _NARROW else 3
        return fit_lines(safe, width, _SEPARATOR, _INDENT, most) or [cut(safe[0], width)]

    def _course(self, event: Advance, most: int | None = None) -> list[str]:
        values = event.course if most is None else event.course[-max(most, 2) :]
        drawn = sparkline(values, self.encoding)
        return [drawn] if drawn else []

    def _bar(self, event: Advance) -> str:
        try:
            _BARS.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return ""
        if not event.total:
            return ""
        halves = min(int(2 * _BAR * event.done / event.total), 2 * _BAR)
        drawn = _BARS[0] * (halves // 2) + _BARS[1] * (halves % 2)
        return f"{drawn:<{_BAR}} "
