"""Reads the rows of tables: CSV and Parquet, and values that only tables have."""

import csv
import io
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from lorapar_cli.data.rows import BadRow, Row
from lorapar_cli.errors import LoraparError
from lorapar_cli.plurals import counted
from lorapar_cli.store.disk.regular_files import require_regular

_BATCH_ROWS = 256
_BUFFER_BYTES = 1 << 16


def read_csv(
    open_file: Callable[[], IO[bytes]], name: str, delimiter: str
) -> Iterator[tuple[str, Row | BadRow]]:
    """Yields place and row of each line behind the header.

    Raises:
        LoraparError: Two columns have one name.
    """
    csv.field_size_limit(sys.maxsize)
    file = io.TextIOWrapper(open_file(), encoding="utf-8-sig", errors="surrogateescape", newline="")
    with file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        columns = None
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as cause:
                # The reader resumes at the line after the one that it could not read.
                yield f"{name}:{reader.line_num}", BadRow(f"not valid CSV ({cause})")
                continue
            if cells is None:
                return
            if columns is None:
                columns = cells
                _refuse_repeated(columns, f"{name}:{line}")
            elif cells:
                yield f"{name}:{line}", _csv_row(columns, cells)


def _csv_row(columns: list[str], cells: list[str]) -> Row | BadRow:
    if len(cells) != len(columns):
        return BadRow(f"{counted(len(cells), 'cell')} where the header names {len(columns)}")
    return dict(zip(columns, cells, strict=True))


def _refuse_repeated(columns: Sequence[str], place: str) -> None:
    repeated = [column for column, count in Counter(columns).items() if count > 1]
    if repeated:
        raise LoraparError(
            f"`{place}` has several columns named `{repeated[0]}`",
            f"columns: {', '.join(columns)}",
            "rename or remove all but one of them",
        )


def read_parquet(path: Path) -> Iterator[tuple[str, Row | BadRow]]:
    """Yields place and row of each row.

    Raises:
        LoraparError: It is not a Parquet file, or two columns have one name.
    """
    import pyarrow
    import pyarrow.parquet

    require_regular(path)
    number = 0
    try:
        # Otherwise whole row groups are read ahead, which is most of the file.
        streamed = {"pre_buffer": False, "buffer_size": _BUFFER_BYTES}
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True, **streamed) as file:
            _refuse_repeated(file.schema_arrow.names, str(path))
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:row {number}", plain_row(row)
    except pyarrow.ArrowException as cause:
        raise LoraparError(
            f"cannot read `{path}`",
            f"{str(cause).splitlines()[0]}" + (f", after row {number}" if number else ""),
        ) from cause


def plain_row(row: Row) -> Row | BadRow:
    """Returns a row as JSON can represent it, or what is wrong with it.

    Dates become ISO 8601, decimals and durations text, NaN and infinity null; bytes must be text.
    """
    try:
        return {key: plain(value, key) for key, value in row.items()}
    except BadRow as cause:
        return cause


def plain(value: Any, field: str = "") -> Any:
    """Returns a value of a field as JSON can represent it, as `plain_row` does.

    Raises:
        BadRow: It is bytes that are not text.
    """
    if isinstance(value, dict):
        return {key: plain(each, field) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, field) for each in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as cause:
            raise BadRow(f"field `{field}` holds bytes that are not UTF-8 text") from cause
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Decimal | timedelta | UUID) else value
