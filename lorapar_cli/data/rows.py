"""One row of a data set: typed access to its fields, and which of them have been used."""

import json
import math
from collections.abc import Iterable
from typing import Any

from lorapar_cli.store.disk.json_keys import DECODER, RepeatedKey

Row = dict[str, Any]

_TYPES = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    dict: "an object",
    list: "a list",
    bytes: "bytes",
}


class BadRow(ValueError):
    """A row that is not a valid record; the message says what was found."""


def kind_of(value: Any) -> str:
    """Returns what a value is, in the words of JSON."""
    return _TYPES.get(type(value), type(value).__name__)


def as_text(value: Any, field: str) -> str:
    """Returns a value as text; numbers become text.

    Raises:
        BadRow: It is neither text nor a finite number.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadRow(f"field `{field}` is {kind_of(value)}, not text")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRow(f"field `{field}` is {value}, which stands for a missing value")
    return str(value)


def parse_json_text(value: Any) -> Any:
    """Returns the list or object that a text spells as JSON, as CSV cells do; else the value."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def parse_json_field(value: Any) -> Any:
    """Returns the same of a field that is no text by itself.

    Raises:
        BadRow: An object of it has a key twice.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return DECODER.decode(value)
        except RepeatedKey as cause:
            raise BadRow(str(cause)) from cause
        except (ValueError, RecursionError):
            return value
    return value


class RowReader:
    """A row whose used fields are remembered, so that the others can be kept or named.

    Attributes:
        used: Names of the fields that have been taken.
    """

    def __init__(self, row: Row) -> None:
        self.row = row
        self.used: set[str] = set()

    def has(self, field: str) -> bool:
        """Returns whether a field is there and not null."""
        return self.row.get(field) is not None

    def first(self, fields: Iterable[str]) -> str | None:
        """Returns the first of the fields that is there and not null, else None."""
        for field in fields:
            if self.row.get(field) is not None:
                return field
        return None

    def take(self, field: str) -> Any:
        """Returns a field's value, None where it is missing, and marks it as used."""
        self.used.add(field)
        return self.row.get(field)

    def text(self, field: str) -> str:
        """Returns a field as text and marks it as used; missing or null is empty.

        Raises:
            BadRow: It is neither text nor a finite number.
        """
        value = self.take(field)
        return "" if value is None else as_text(value, field)

    def require(self, fields: Iterable[str]) -> None:
        """Checks that fields are there and not null.

        Raises:
            BadRow: One is not; names it.
        """
        for field in fields:
            if field not in self.row:
                raise BadRow(f"field `{field}` is missing among {self.names()}")
            if self.row[field] is None:
                raise BadRow(f"field `{field}` is null")

    def names(self) -> str:
        """Returns the names of the row's first fields, for a message."""
        return ", ".join(f"`{name}`" for name in list(self.row)[:12]) or "(none)"
