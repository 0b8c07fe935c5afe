"""The rows of published test sets, from their authors' files or from the hub."""

import gzip
from collections.abc import Iterator
from pathlib import Path

from lorapar_cli.data.formats import BadRow
from lorapar_cli.data.readers import open_source
from lorapar_cli.errors import LoraparError
from lorapar_cli.store.records import parse_line
from lorapar_cli.store.reuse import describe_inputs


class PublishedRows:
    """The rows of a published data set.

    Args:
        source: File, folder or hub id that the user named, None for `hub_id`.
        subset, split: Of the data set on the hub.
    """

    def __init__(self, source: str | None, hub_id: str, subset: str | None, split: str) -> None:
        self.name = source or hub_id
        self._packed = Path(self.name) if self.name.endswith(".jsonl.gz") else None
        if self._packed is None:
            local = Path(self.name).exists()
            self._source = open_source(self.name, subset=None if local else subset, split=split)

    def describe(self) -> dict[str, str]:
        """Returns where the rows are and a digest of their content."""
        if self._packed is not None:
            return describe_inputs({"data": self._packed})["data"]
        return self._source.describe()

    def _rows(self) -> Iterator[tuple[str, dict | BadRow]]:
        if self._packed is None:
            yield from self._source.rows()
            return
        try:
            with gzip.open(self._packed, "rt", encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield f"{self.name}:{number}", parse_line(line, self._packed, number)
        except (OSError, EOFError, UnicodeDecodeError) as cause:
            raise LoraparError(f"cannot read `{self.name}`", str(cause)) from cause

    def read(self, needed: tuple[str, ...], limit: int | None = None) -> Iterator[dict]:
        """Yields the rows in order, each with at least the needed fields.

        Args:
            limit: Number of rows to stop after.

        Raises:
            LoraparError: A row is damaged or lacks a field; names file and line.
        """
        for number, (place, row) in enumerate(self._rows()):
            if limit is not None and number >= limit:
                return
            if isinstance(row, BadRow):
                raise LoraparError(f"`{place}` is not a valid row", str(row)) from row
            if missing := [name for name in needed if row.get(name) is None]:
                raise LoraparError(
                    f"`{place}` is not a valid row",
                    f"field `{missing[0]}` is missing among {', '.join(row) or '(none)'}",
                    "give a file of the data set itself, or use `--task data`",
                )
            yield row
