"""Lines that are drawn again and again at the end of a terminal, below whatever is printed."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lorapar_cli.cli import console
from lorapar_cli.events import Progress

_PER_SECOND = 4

Line = tuple[str, str]
"""Text and style."""
Draw = Callable[[int, int], Sequence[Line]]
"""Returns the lines for a width and a height."""


@contextmanager
def live_lines(draw: Draw, progress: Progress) -> Iterator[None]:
    """Draws lines until the context ends, and once more then; text that is printed stands above.

    Args:
        draw: Called several times a second by another thread.
        progress: Takes in the events of every stage that works meanwhile.
    """
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    terminal = console.stderr()

    def drawn() -> Any:
        # Not in the last column, behind which some terminals begin a line.
        lines = draw(max(terminal.width - 1, 1), terminal.height - 1)
        return Group(*(Text(text, style, no_wrap=True) for text, style in lines))

    live = Live(
        get_renderable=drawn,
        console=terminal,
        refresh_per_second=_PER_SECOND,
        vertical_overflow="crop",
        # Where stdout is a file, it gets what is meant for it.
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
    )
    with console.drawing(terminal, progress), live:
        # However the process ends, by SIGKILL too, it leaves a terminal with a cursor.
        terminal.show_cursor(True)
        yield
