"""A file that is one JSON array of objects, read piece by piece, with the place of what is wrong.

Behind a broken object it goes on where the next one begins, as far as that can be told.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from lorapar_cli.data.formats import BadRow

_READ_CHARACTERS = 1 << 16
_SHOWN_CHARACTERS = 80
_NEXT_OBJECT = re.compile(r"[}\]]\s*,?\s*\[?\s*(?=\{)")
# No more of a text can be needed to tell that a literal or an escape in it is whole.
_LONGEST_LITERAL = 32
# Most that can stand between the end of one object and the next, for the search from piece to
# piece.
_LONGEST_GAP = 4096


def read_array(path: Path) -> Iterator[tuple[str, dict[str, Any] | BadRow]]:
    """Yields place (`file:line`) and object, or what is wrong there."""
    decoder = json.JSONDecoder()
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        window = _Window(file)
        window.more()
        window.drop(window.text.index("[") + 1)
        while not window.at_end():
            text = window.text
            try:
                value, end = decoder.raw_decode(text)
            except (ValueError, RecursionError) as cause:
                if not window.ended and not _surely_wrong(cause, text):
                    window.more()
                    continue
                place = min(getattr(cause, "pos", 0), len(text.rstrip()))
                here = text.rfind("\n", 0, place) + 1
                reason = getattr(cause, "msg", str(cause))
                found = BadRow(f"not valid JSON ({reason}): {shown(text[here:])}")
                yield f"{path}:{window.line_at(place)}", found
                if not window.skip_to_next_object(place):
                    return
                continue
            if end == len(text) and not window.ended:
                window.more()  # A number that reaches the end of what was read may go on.
                continue
            found = f"{type(value).__name__} instead of an object: {shown(text[:end])}"
            yield f"{path}:{window.line}", value if isinstance(value, dict) else BadRow(found)
            window.drop(end)


def shown(text: str) -> str:
    """Returns the beginning of a text, for a message."""
    text = text.strip()
    return repr(text[:_SHOWN_CHARACTERS]) + ("..." if len(text) > _SHOWN_CHARACTERS else "")


def _surely_wrong(cause: Exception, text: str) -> bool:
    """Whether an error stays one however the text goes on."""
    if not isinstance(cause, json.JSONDecodeError):
        return True
    cut_off = cause.msg.startswith("Unterminated string")
    return not cut_off and cause.pos + _LONGEST_LITERAL < len(text)


class _Window:
    """A stretch of a file's text that moves on.

    Attributes:
        text: What has been read and not yet dropped.
        line: The line on which it begins, from 1.
        ended: Whether the file holds nothing behind it.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.text, self.line, self.ended = "", 1, False

    def more(self) -> None:
        """Reads on, more at a time the longer the text is."""
        read = self._file.read(max(_READ_CHARACTERS, len(self.text)))
        self.text += read
        self.ended = not read

    def drop(self, count: int) -> None:
        """Leaves the first characters behind."""
        self.line = self.line_at(count)
        self.text = self.text[count:]

    def line_at(self, place: int) -> int:
        """Returns the line of a place in the text."""
        return self.line + self.text.count("\n", 0, place)

    def at_end(self) -> bool:
        """Moves to the next value; returns whether the array ends instead, and the file with it."""
        while True:
            self.drop(len(self.text) - len(self.text.lstrip(" \t\r\n,")))
            rest = self.text.removeprefix("]").strip()
            if rest or self.ended:
                return not rest and self.text.startswith("]")
            self.more()

    def skip_to_next_object(self, place: int) -> bool:
        """Moves to where an object seems to begin behind a place; returns whether there is one."""
        while True:
            if found := _NEXT_OBJECT.search(self.text, max(0, place - 1)):
                self.drop(found.end())
                return True
            if self.ended:
                return False
            self.drop(max(0, len(self.text) - _LONGEST_GAP))
            place = 0
            self.more()
