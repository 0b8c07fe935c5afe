"""Reads a file that is one JSON array of objects, element by element.

`json` decodes every element and decides what is valid: an array is accepted here exactly where
`json.loads` would accept it. Reading stops at the first syntax error, because where the next
element begins could only be guessed.
"""

import json
import re
from collections.abc import Iterator
from typing import IO, Any

from lorapar_cli.data.rows import BadRow, kind_of
from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.json_keys import DECODER, RepeatedKey
from lorapar_cli.store.disk.regular_files import describe_json_error

_READ_CHARACTERS = 1 << 16
_SHOWN_CHARACTERS = 80
_SHOWN_BEFORE_ERROR = 40
_NOT_WHITESPACE = re.compile(r"[^ \t\r\n]")
# Upper bound on the length of a literal, an escape, or the tail of a number that more text could
# complete: an error or a value this close to the end of the buffer is not final.
_LONGEST_LITERAL = 32


def read_array(file: IO[str], name: str) -> Iterator[tuple[str, dict[str, Any] | BadRow]]:
    """Yields the place (`file:line`) and the object of each element of the array in a file.

    An element that is not an object comes as `BadRow`. Memory holds one element or 64 Ki
    characters, whichever is longer.

    Args:
        file: The file's text, opened with `newline=""`.
        name: The file's name, for places and messages.

    Raises:
        LoraparError: The text is not a valid JSON array; names file, line and column. What came
            before the error has been yielded by then.
    """
    buffer = _Buffer(file, name)
    if buffer.peek() != "[":
        raise buffer.error("no `[` at the start of the array")
    buffer.skip_character()
    if buffer.peek() == "]":
        buffer.skip_character()
    else:
        yield from _read_elements(buffer)
    if buffer.peek():
        raise buffer.error("text after the end of the array")


def _read_elements(buffer: "_Buffer") -> Iterator[tuple[str, dict[str, Any] | BadRow]]:
    """Yields the elements of an array that is not empty; ends after its closing bracket."""
    while True:
        if not buffer.peek():
            raise buffer.error("the file ends inside the array")
        place = buffer.place
        value, text = buffer.decode()
        if isinstance(value, dict | BadRow):
            yield place, value
        else:
            found = f"{kind_of(value)} instead of an object: {shown(text)}"
            yield place, BadRow(found)
        separator = buffer.peek()
        if not separator:
            raise buffer.error("the file ends inside the array")
        if separator not in ",]":
            raise buffer.error("no `,` or `]` after an element")
        buffer.skip_character()
        if separator == "]":
            return
        if buffer.peek() == "]":
            raise buffer.error("a `,` before the closing `]`")


def shown(text: str) -> str:
    """Returns the beginning of a text, for a message."""
    text = text.strip()
    return repr(text[:_SHOWN_CHARACTERS]) + ("..." if len(text) > _SHOWN_CHARACTERS else "")


class _Buffer:
    """A stretch of a file's text, with the position of what is read next.

    Attributes:
        text: What has been read from the file and not yet dropped.
        at: Index in `text` of what is read next.
        line: Its line, from 1.
    """

    def __init__(self, file: IO[str], name: str) -> None:
        self._file, self._name = file, name
        self._lenient = json.JSONDecoder()
        self._ended = False
        self.text, self.at, self.line = "", 0, 1
        # Index in `text` of the start of the current line; negative once that has been dropped.
        self._line_start = 0

    @property
    def place(self) -> str:
        """The file and line of what is read next."""
        return f"{self._name}:{self.line}"

    def peek(self) -> str:
        """Skips whitespace; returns the next character, empty at the end of the file."""
        while True:
            found = _NOT_WHITESPACE.search(self.text, self.at)
            self._advance(found.start() if found else len(self.text))
            if found:
                return found[0]
            if self._ended:
                return ""
            self._read_more()

    def skip_character(self) -> None:
        """Moves past one character that is not a line break."""
        self.at += 1

    def decode(self) -> tuple[Any, str]:
        """Returns the next value and its text, and moves past it; BadRow for a key that is there twice.

        Raises:
            LoraparError: It is not a valid JSON value.
        """
        while True:
            try:
                value, end = self._decode_at()
            except (ValueError, RecursionError) as cause:
                if self._ended or self._is_final(cause):
                    reason = getattr(cause, "msg", describe_json_error(cause))
                    raise self.error(reason, getattr(cause, "pos", self.at)) from cause
            else:
                if self._ended or end + _LONGEST_LITERAL <= len(self.text):
                    text = self.text[self.at : min(end, self.at + 2 * _SHOWN_CHARACTERS)]
                    self._advance(end)
                    return value, text
            self._read_more()

    def _decode_at(self) -> tuple[Any, int]:
        try:
            return DECODER.raw_decode(self.text, self.at)
        except RepeatedKey as cause:
            # Where the element ends, reading goes on.
            return BadRow(str(cause)), self._lenient.raw_decode(self.text, self.at)[1]

    def error(self, reason: str, index: int | None = None) -> LoraparError:
        """Returns the error that names the place of an index in `text`, else of `at`."""
        if index is not None:
            # The last line that holds anything, not an empty one after it.
            self._advance(max(self.at, min(index, len(self.text.rstrip()))))
        column = self.at - self._line_start + 1
        start = max(0, self._line_start, self.at - _SHOWN_BEFORE_ERROR)
        context = self.text[start : self.at + _SHOWN_CHARACTERS - _SHOWN_BEFORE_ERROR]
        return LoraparError(
            f"`{self.place}` is not valid JSON",
            f"{reason}, at column {column}" + (f": {shown(context)}" if context else ""),
            "fix the file; `--skip-bad` skips elements that are not records, but reading cannot "
            "resume after a syntax error in an array",
        )

    def _is_final(self, cause: Exception) -> bool:
        """Returns whether an error remains one whatever text follows."""
        if not isinstance(cause, json.JSONDecodeError):
            return True
        open_string = cause.msg.startswith("Unterminated string")
        return not open_string and cause.pos + _LONGEST_LITERAL < len(self.text)

    def _advance(self, index: int) -> None:
        self.line += self.text.count("\n", self.at, index)
        if (last := self.text.rfind("\n", self.at, index)) >= 0:
            self._line_start = last + 1
        self.at = index

    def _read_more(self) -> None:
        """Drops what has been read and appends from the file, more the longer the rest is."""
        self.text = self.text[self.at :]
        self._line_start -= self.at
        self.at = 0
        read = self._file.read(max(_READ_CHARACTERS, len(self.text)))
        self.text += read
        self._ended = not read
