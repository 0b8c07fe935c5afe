"""What a user sees: results on stdout, everything else on stderr."""

import ctypes
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from lorapar_cli.cli.display.words import wrap
from lorapar_cli.cli.sparkline import sparkline, time_left
from lorapar_cli.events import Advance, Event, Note, Progress, TokenView
from lorapar_cli.launcher import is_launched, is_main
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.text_safety import escape_json, make_inert

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lorapar_cli.cli.display.tasks import Tasks

Render = Callable[[Manifest], list[Any]]
"""Turns a manifest into rich renderables (tables, lines)."""
OUTPUT_VERSION = 1
"""Of what `--json` prints: a new one says that a key is gone or means something else."""
_PLAIN_SECONDS = 15.0
# Training tells more in a line, and takes hours.
_COURSE_SECONDS = 60.0

_brief: ContextVar[bool] = ContextVar("brief", default=False)
# Where results go while the output of libraries is redirected; None otherwise.
_results: ContextVar[TextIO | None] = ContextVar("results", default=None)
# Console and callback of the display that is drawn at the moment; None for none.
_drawn: "tuple[Console, Progress] | None" = None


@contextmanager
def brief_results() -> Iterator[None]:
    """Leaves out every stage's own tables, for commands that end with a report of their own."""
    token = _brief.set(True)
    try:
        yield
    finally:
        _brief.reset(token)


def stdout(width: int = 100) -> "Console":
    """Returns the console for results; honours NO_COLOR.

    Args:
        width: In columns, where it is not a terminal, which has its own.
    """
    from lorapar_cli.cli.inert_console import InertConsole

    file = _results.get() or sys.stdout
    if _drawn is not None and file.isatty():
        return _drawn[0]  # Results of one stage of several stand above what is drawn.
    return InertConsole(file=file, width=None if file.isatty() else width)


def print_json(value: Any) -> None:
    """Prints a command's result as one line of JSON to stdout, with the version of its form.

    Args:
        value: An object, or a list of objects, each of which gets the version.
    """
    rows = value if isinstance(value, list) else [value]
    versioned = [{"schema": OUTPUT_VERSION} | row for row in rows]
    shown = versioned if isinstance(value, list) else versioned[0]
    try:
        text = json.dumps(shown, ensure_ascii=False, allow_nan=False)
    except ValueError:
        # In a file of somebody else's, shown as it is.
        text = json.dumps(_without_nan(shown), ensure_ascii=False)
    print(escape_json(text))


def _without_nan(value: Any) -> Any:
    """Returns a value with text in the place of numbers that JSON does not know, such as `NaN`."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    return value


def print_text(text: str, end: str = "\n") -> None:
    """Prints text to stdout without wrapping it."""
    print(make_inert(text), end=end)


def print_sentence(text: str) -> None:
    """Prints a sentence to stdout: one line, on a terminal broken between words."""
    console = stdout()
    broken = wrap(make_inert(text), console.width) if console.file.isatty() else text
    console.print(broken, soft_wrap=True)


@contextmanager
def _results_alone() -> Iterator[None]:
    """Redirects what libraries print to stderr, so that stdout holds only results.

    Both ways of writing are redirected: Python's stream and, for compiled code and child processes,
    the file descriptor. `stdout()` still writes where it did.
    """
    if _results.get() is not None or sys.stdout is None:
        yield
        return
    python_stdout = sys.stdout
    python_stdout.flush()
    kept = None
    try:
        kept = os.dup(1)
        is_descriptor = python_stdout.fileno() == 1
    except (OSError, ValueError):
        is_descriptor = False  # Closed, or a buffer of a caller in Python.
    results = python_stdout
    if kept is not None and is_descriptor:
        encoding, errors = python_stdout.encoding, python_stdout.errors
        results = os.fdopen(kept, "w", encoding=encoding, errors=errors, closefd=False)
    token = _results.set(results)
    sys.stdout = sys.stderr
    if kept is not None:
        os.dup2(2, 1)
    try:
        yield
    finally:
        results.flush()
        sys.stdout = python_stdout
        _results.reset(token)
        if kept is not None:
            # What compiled code has buffered must not appear after the results.
            ctypes.CDLL(None).fflush(None)
            os.dup2(kept, 1)
            os.close(kept)


def stderr() -> "Console":
    """Returns the console for progress, notes and errors; honours NO_COLOR."""
    from lorapar_cli.cli.inert_console import InertConsole

    return InertConsole(stderr=True, soft_wrap=True) if _drawn is None else _drawn[0]


def say(text: str) -> None:
    """Writes text to stderr without markup: one line, on a terminal broken between words."""
    console = stderr()
    console.print(wrap(make_inert(text), console.width) if sys.stderr.isatty() else text)


@contextmanager
def drawing(console: "Console", progress: Progress) -> Iterator[None]:
    """Has every event and line go to one display, which is redrawn below the lines."""
    global _drawn  # noqa: PLW0603 - there is one terminal, whichever thread reports.
    if _drawn is not None:
        raise AssertionError("two displays at a time")
    _drawn = (console, progress)
    try:
        yield
    finally:
        _drawn = None


def can_be_redrawn() -> bool:
    """Returns whether stderr is a terminal that can be drawn on, and this process alone draws."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return (
        terminal
        and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")
        and not is_launched()
    )


@contextmanager
def progress_display() -> Iterator[Progress]:
    """Yields the progress callback: a line a task on a terminal, an occasional line elsewhere.

    Meanwhile stdout is reserved for results.
    """
    with _results_alone():
        if _drawn is not None:
            yield _drawn[1]
            return
        display = _tasks() if can_be_redrawn() else _lines()
        with display as progress:
            yield progress


@contextmanager
def _tasks() -> Iterator[Progress]:
    from lorapar_cli.cli.display.live import live_lines
    from lorapar_cli.cli.display.tasks import Tasks

    tasks = Tasks(sys.stderr.encoding)
    show = showing(tasks)
    with live_lines(
        lambda width, height: [(line, "") for line in tasks.lines(width)][:height], show
    ):
        yield show
        tasks.close()


def showing(tasks: "Tasks") -> Progress:
    """Returns the callback of a display that shows tasks, and notes above them."""

    def show(event: Event) -> None:
        if isinstance(event, Note):
            say(f"note: {event.text}")
        elif isinstance(event, TokenView):
            _show_tokens(event)
        else:
            tasks.advance(event)

    return show


@contextmanager
def _lines() -> Iterator[Progress]:
    shown: dict[str, float] = {}
    began: dict[str, tuple[int, float]] = {}

    def show(event: Event) -> None:
        if isinstance(event, Note):
            say(f"note: {event.text}")
            return
        if isinstance(event, TokenView):
            _show_tokens(event)
            return
        now = time.monotonic()
        since, start = began.setdefault(event.task, (event.done, now))
        finished = event.total is not None and event.done >= event.total
        pause = _COURSE_SECONDS if event.course else _PLAIN_SECONDS
        if event.task in shown and not finished and now - shown[event.task] < pause:
            return
        shown[event.task] = now
        of = f" of {event.total}" if event.total is not None else ""
        counted = f": {event.done}{of}" if event.done or of else ""
        left = time_left(event.done, event.total, since, now - start)
        say(f"{_in_words(event)}{counted}" + (f", {left} left" if left else ""))

    yield show


def _show_tokens(view: TokenView) -> None:
    """Prints records token by token to stdout; those that contribute to the loss are in brackets."""
    if not is_main():
        return  # Of the processes of one launch only the first reports.
    console = stdout()
    console.print("records as tokens; [in brackets]: contributes to the loss")
    for tokens in view.records:
        parts = [f"[{text!r}]" if loss else repr(text) for text, loss in tokens]
        console.print(" ".join(parts))


def _in_words(event: Advance) -> str:
    figures = list(event.figures)
    drawn = sparkline(event.course, getattr(sys.stderr, "encoding", None) or "ascii")
    if figures and drawn:
        figures[0] += f" {drawn}"
    words = " | ".join([event.task, *figures, *([event.remark] if event.remark else [])])
    return make_inert(words).replace("\n", "\\n")


def show_outcome(outcome: Outcome, as_json: bool, render: Render, next_command: str | None) -> None:
    """Prints a stage's result.

    Args:
        next_command: What to type next, or None.
    """
    if not is_main():
        return  # Of the processes of one launch only the first reports.
    if as_json:
        print_json(asdict(outcome.manifest))
        return
    for note in outcome.manifest.notes:
        say(f"note: {note}")
    if _brief.get():
        return
    console = stdout()
    for renderable in render(outcome.manifest):
        console.print(renderable)
    state = (
        f"written: `{outcome.folder}`"
        if outcome.fresh
        else f"up to date: `{outcome.folder}` holds the result of these inputs and settings"
    )
    say(state + (f", next: `{next_command}`" if next_command else ""))


def show_dry_run(outcome: Outcome, as_json: bool, render: Render) -> None:
    """Prints what a dry run found; nothing of it is written."""
    if not is_main():
        return
    if as_json:
        print_json(asdict(outcome.manifest))
        return
    for note in outcome.manifest.notes:
        say(f"note: {note}")
    console = stdout()
    for renderable in render(outcome.manifest):
        console.print(renderable)


def two_columns(title: str, rows: list[tuple[str, str]]) -> "Table":
    """Returns a table of labels and values."""
    from rich.table import Table

    # A title that is longer than the rows stays on its line.
    table = Table(title=title, show_header=False, title_justify="left", min_width=len(title) + 2)
    table.add_column(no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(*row)
    return table
