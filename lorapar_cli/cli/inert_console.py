"""A rich console for which text is data: no markup in it, and no control characters."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lorapar_cli.text_safety import make_inert

_NARROW = 80
# More than any table is wide.
_UNLIMITED = 10_000


class InertConsole(Console):
    """Prints names, answers and messages of others as they stand; colours are ours alone.

    Nothing is cut off: a table that is too wide loses its lines first, so that words stay whole, and
    what is still wider than its column is continued below.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints text, tables and other renderables."""
        for table in objects:
            if isinstance(table, Table):
                self._make_fit(table)
        super().print(*objects, **options)

    def _make_fit(self, table: Table) -> None:
        for column in table.columns:
            column.overflow = "fold"
        room = self.width if self.is_terminal else min(self.width, _NARROW)
        if self._width_of(table) > room:
            table.box, table.padding = box.SIMPLE_HEAD, (0, 1, 0, 0)
            table.show_edge = table.pad_edge = False
        if self._width_of(table) > room:
            table.padding = (0, 0, 0, 0)

    def _width_of(self, table: Table) -> int:
        """Returns the columns that a table takes where nothing of it is continued below."""
        return self.measure(table, options=self.options.update(max_width=_UNLIMITED)).maximum

    def render_str(self, text: str, **options: Any) -> Text:
        """Returns text to print, in tables and lines alike."""
        return super().render_str(make_inert(text), **options)
