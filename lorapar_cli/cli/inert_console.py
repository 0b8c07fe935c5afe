"""A rich console for which text is data: no markup in it, and no control characters."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lorapar_cli.text_safety import make_inert


class InertConsole(Console):
    """Prints names, answers and messages of others as they stand; colours are ours alone.

    Nothing is cut off: what is wider than its column of a table is continued below.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints text, tables and other renderables."""
        for table in objects:
            for column in table.columns if isinstance(table, Table) else ():
                column.overflow = "fold"
        super().print(*objects, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Returns text to print, in tables and lines alike."""
        return super().render_str(make_inert(text), **options)
