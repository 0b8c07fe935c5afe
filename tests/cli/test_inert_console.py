"""Tables that are too wide lose their lines before their words."""

import io

import pytest
from rich.table import Table

from lorapar_cli.cli.inert_console import InertConsole

HEADS = ("module", "matrix", "elements", "s1_only", "s2_only", "shared", "unselected", "SFT", "RL")
ROW = ("down_proj", "A", "18,000,000", "13.77", "12.76", "24.48", "49.00", "38.24", "37.23")


def shown(width: int, columns: int) -> list[str]:
    table = Table()
    for head in HEADS[:columns]:
        table.add_column(head)
    table.add_row(*ROW[:columns])
    console = InertConsole(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100])
def test_a_table_of_the_partition_fits_80_columns_with_whole_words(width):
    lines = shown(width, len(HEADS))
    assert max(len(line.rstrip()) for line in lines) <= 80
    text = "\n".join(lines)
    for word in (*HEADS, *ROW):
        assert word in text
    assert "│" not in text


def test_a_table_that_fits_keeps_its_lines():
    assert "│" in "\n".join(shown(80, 3))


def test_what_is_wider_all_the_same_is_continued():
    lines = shown(40, len(HEADS))
    assert max(map(len, lines)) <= 40
    letters = "".join(lines).replace(" ", "")
    assert all(letter in letters for letter in "unselected")
