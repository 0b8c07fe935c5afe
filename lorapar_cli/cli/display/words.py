"""Lines that fit a terminal: text breaks between words, and lists of figures end early."""

import unicodedata
from collections.abc import Sequence


def width_of(text: str) -> int:
    """Returns the columns that a text takes in a terminal."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrap(text: str, width: int) -> str:
    """Returns the text in lines of at most `width` columns; continued lines keep the indentation.

    A word that is longer than a line, such as a path, stays whole: a terminal continues it, and it
    can be copied.
    """
    return "\n".join(_wrap_line(line, width) for line in text.split("\n"))


def _wrap_line(line: str, width: int) -> str:
    if width_of(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip(" "))]
    lines: list[str] = []
    current = indent
    for word in line.split():
        wider = f"{current} {word}" if current.strip() else f"{indent}{word}"
        if current.strip() and width_of(wider) > width:
            lines.append(current)
            wider = f"{indent}{word}"
        current = wider
    return "\n".join([*lines, current])


def fit(parts: Sequence[str], width: int, separator: str = ", ") -> str:
    """Returns as many of the parts, from the first on, as fit into `width` columns."""
    shown = ""
    for part in parts:
        longer = f"{shown}{separator}{part}" if shown else part
        if width_of(longer) > width:
            break
        shown = longer
    return shown


def fit_lines(
    parts: Sequence[str], width: int, separator: str, indent: str, most: int
) -> list[str]:
    """Returns as many of the parts, from the first on, as fit into lines of `width` columns.

    Args:
        indent: Of every line but the first.
        most: Number of lines.
    """
    lines = [""]
    for part in parts:
        begun = lines[-1].strip()
        longer = f"{lines[-1]}{separator}{part}" if begun else f"{lines[-1]}{part}"
        if width_of(longer) > width and begun and len(lines) < most:
            lines.append(indent)
            longer = f"{indent}{part}"
        if width_of(longer) > width:
            break
        lines[-1] = longer
    return [line for line in lines if line.strip()]


def cut(text: str, width: int) -> str:
    """Returns a line of at most `width` columns, for a display that is redrawn."""
    if width_of(text) <= width:
        return text
    kept = ""
    for character in text:
        if width_of(kept) + _columns(character) > max(width - 3, 0):
            break
        kept += character
    return (kept + "...")[: max(width, 0)]
