"""The board of a run: a row a stage, with its state, its time and the figures that matter."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from lorapar_cli.cli import console
from lorapar_cli.cli.display.figures import figures_of
from lorapar_cli.cli.display.live import Line, live_lines
from lorapar_cli.cli.display.tasks import Tasks
from lorapar_cli.cli.display.words import cut, fit
from lorapar_cli.cli.sparkline import clock
from lorapar_cli.events import Progress
from lorapar_cli.names import Stage
from lorapar_cli.plurals import counted
from lorapar_cli.store.manifest import Outcome
from lorapar_cli.text_safety import make_inert

_INDENT = " " * 4
# Narrower, and figures stand below their stage.
_WIDE = 72


class State(StrEnum):
    """What a stage's row says; `kept` is a result of an earlier run that is up to date."""

    LEFT = "left"
    RUNNING = "running"
    DONE = "done"
    KEPT = "kept"
    FAILED = "failed"
    STOPPED = "stopped"


_STYLES = {
    State.LEFT: "dim",
    State.RUNNING: "bold cyan",
    State.DONE: "green",
    State.KEPT: "green",
    State.FAILED: "bold red",
    State.STOPPED: "bold yellow",
}


@dataclass
class _Row:
    stage: Stage
    state: State = State.LEFT
    began: float = 0.0
    seconds: float | None = None
    figures: list[str] = field(default_factory=list)


class Board:
    """Rows of stages, and the tasks of the one that is running.

    Args:
        title: Says which run it is.
        stages: Those that the run has, in order.
        tasks: Where events of the running stage go.
        now: Returns seconds.
    """

    def __init__(
        self,
        title: str,
        stages: Sequence[Stage],
        tasks: Tasks,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._tasks, self._now = make_inert(title).replace("\n", "\\n"), tasks, now
        self._rows = {stage: _Row(stage) for stage in stages}
        self._began = now()

    def begin(self, stage: Stage) -> None:
        """Marks a stage as running."""
        row = self._rows[stage]
        row.state, row.began = State.RUNNING, self._now()
        self._tasks.clear()

    def end(self, stage: Stage, outcome: Outcome) -> None:
        """Shows a stage's result."""
        row = self._rows[stage]
        row.state = State.DONE if outcome.fresh else State.KEPT
        row.seconds = self._now() - row.began if outcome.fresh else outcome.manifest.seconds()
        row.figures = figures_of(stage, outcome.manifest)
        self._tasks.clear()

    def leave(self, state: State) -> None:
        """Ends the running stage without a result."""
        for row in self._rows.values():
            if row.state is State.RUNNING:
                row.state, row.seconds = state, self._now() - row.began
                figure = self._tasks.figure()
                row.figures = [figure] if figure else []
        self._tasks.clear()

    def lines(self, width: int, height: int) -> list[Line]:
        """Returns the board's lines; in a low terminal only those of stages that are not left."""
        below = width < _WIDE
        lines = self._lines(width, below, every=True)
        if len(lines) > height:
            lines = self._lines(width, False, every=True)
        if len(lines) > height:
            lines = self._lines(width, False, every=False)
        return lines[:height]

    def _lines(self, width: int, below: bool, every: bool) -> list[Line]:
        over = sum(row.state in (State.DONE, State.KEPT) for row in self._rows.values())
        parts = [f"{over} of {counted(len(self._rows), 'stage')}", clock(self._now() - self._began)]
        told = ", ".join(parts)
        lines = [(cut(f"{cut(self._title, width - len(told) - 2)}  {told}", width), "bold")]
        for number, row in enumerate(self._rows.values(), 1):
            running = row.state is State.RUNNING
            if every or running:
                lines += self._row(number, row, width, below)
            if running:
                lines += self._steps(width)
        if not any(row.state is State.RUNNING for row in self._rows.values()):
            lines += self._steps(width)
        return lines

    def _row(self, number: int, row: _Row, width: int, below: bool) -> list[Line]:
        seconds, figures = row.seconds, row.figures
        if row.state is State.RUNNING:
            seconds, figure = self._now() - row.began, self._tasks.figure()
            figures = [figure] if figure else []
        taken = "" if seconds is None else clock(seconds)
        head = f"{number:>2} {row.stage:<9}  {row.state:<7} {taken:>8}"
        style = _STYLES[row.state]
        if not below:
            room = width - len(head) - 2
            return [(cut(f"{head}  {fit(figures, room)}".rstrip(), width), style)]
        told = fit(figures, width - len(_INDENT))
        return [
            (cut(head.rstrip(), width), style),
            *([(f"{_INDENT}{told}", style)] if told else []),
        ]

    def _steps(self, width: int) -> list[Line]:
        lines = self._tasks.lines(width - len(_INDENT), running_only=True)
        return [(f"{_INDENT}{line}", "") for line in lines]


class Told:
    """The same told in lines, where nothing can be redrawn.

    Args:
        stages: Those that the run has, in order.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = list(stages)

    def begin(self, stage: Stage) -> None:
        """Says which stage begins."""
        console.say(f"[{self._stages.index(stage) + 1}/{len(self._stages)}] {stage}")

    def end(self, stage: Stage, outcome: Outcome) -> None:
        """Says what came out of it."""
        seconds = outcome.manifest.seconds() or 0.0
        how = f"done in {seconds:.0f} s" if outcome.fresh else f"up to date (took {seconds:.0f} s)"
        told = ", ".join(figures_of(stage, outcome.manifest))
        console.say(f"      {how}" + (f": {told}" if told else ""))


@contextmanager
def run_display(title: str, stages: Sequence[Stage]) -> Iterator[tuple[Board | Told, Progress]]:
    """Yields what is told of stages as they begin and end, and the callback for other tasks.

    Args:
        title: Says which run it is.
        stages: Those that the run has, in order.
    """
    if not console.can_be_redrawn():
        yield Told(stages), lambda _: None
        return
    tasks = Tasks(sys.stderr.encoding)
    board = Board(title, stages, tasks)
    progress = console.showing(tasks)
    with live_lines(board.lines, progress):
        try:
            yield board, progress
        except KeyboardInterrupt:
            board.leave(State.STOPPED)
            raise
        except BaseException:
            board.leave(State.FAILED)
            raise
        # A dry run of a stage ends a run early.
        board.leave(State.DONE)
