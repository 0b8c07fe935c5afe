"""The rows of published test sets, from their authors' files or from the hub."""

from collections.abc import Iterator
from pathlib import Path

from lorapar_cli.data.readers import open_source
from lorapar_cli.data.rows import BadRow
from lorapar_cli.errors import LoraparError


class PublishedRows:
    """The rows of a published data set.

    Args:
        source: File, folder or hub id that the user named, None for `hub_id`.
        subset, split: Of the data set on the hub.
    """

    def __init__(self, source: str | None, hub_id: str, subset: str | None, split: str) -> None:
        self.name = source or hub_id
        local = Path(self.name).exists()
        self._source = open_source(self.name, subset=None if local else subset, split=split)

    def describe(self) -> dict[str, str]:
        """Returns where the rows are and a digest of their content."""
        return self._source.describe()

    def read(self, needed: tuple[str, ...], limit: int | None = None) -> Iterator[dict]:
        """Yields the rows in order, each with at least the needed fields.

        Args:
            limit: Number of rows to stop after.

        Raises:
            LoraparError: A row is damaged or lacks a field; names file and line.
        """
        for _, row in self.placed(needed, limit):
            yield row

    def placed(
        self, needed: tuple[str, ...], limit: int | None = None
    ) -> Iterator[tuple[str, dict]]:
        """Yields as `read` does, each row with its file and line."""
        for number, (place, row) in enumerate(self._source.rows()):
            if limit is not None and number >= limit:
                return
            if isinstance(row, BadRow):
                raise LoraparError(f"`{place}` is not a valid row", str(row)) from row
            if missing := [name for name in needed if row.get(name) is None]:
                among = f"missing among {', '.join(row) or '(none)'}"
                raise LoraparError(
                    f"`{place}` is not a valid row",
                    f"field `{missing[0]}` is {'null' if missing[0] in row else among}",
                    "give a file of the data set itself, or use `--task data`",
                )
            yield place, row
