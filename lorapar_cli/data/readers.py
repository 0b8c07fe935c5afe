"""Reads data sets as a stream of records: JSON Lines, JSON, CSV, Parquet, hub data sets.

Nothing here holds more than one record or one Parquet batch at a time, so files of any size can be
read, as often as a stage needs.
"""

import base64
import csv
import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from lorapar_cli.data.formats import FORMATS, BadRow, Fields, Row, read_row
from lorapar_cli.data.json_stream import read_array, shown
from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.store.records import Record
from lorapar_cli.store.reuse import describe_inputs

_READ_CHARACTERS = 1 << 16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HUB_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?")
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")

# A place, for messages, and the row there or what is wrong with it.
Placed = tuple[str, Row | BadRow]


@dataclass
class Source:
    """A data set that can be read repeatedly from its beginning.

    Attributes:
        name: What the user gave: a file, a folder or a hub id.
        skip_bad: Skip rows that are not valid records, instead of failing on the first.
        limit: Largest number of records to read.
        bad: Places and causes of the first rows that the last reading skipped.
        bad_count: Number of rows that the last reading skipped.
    """

    name: str
    fields: Fields
    rows: Callable[[], Iterator[Placed]]
    describe: Callable[[], dict[str, str]]
    skip_bad: bool = False
    limit: int | None = None
    bad: list[str] = field(default_factory=list)
    bad_count: int = 0

    def records(self) -> Iterator[Record]:
        """Yields the records in order.

        Raises:
            LoraparError: A row is not a valid record and `skip_bad` is off, or a JSON array has a
                syntax error; names file and line.
        """
        self.bad, self.bad_count = [], 0
        return islice(self._all_records(), self.limit)

    def _all_records(self) -> Iterator[Record]:
        for place, row in self.rows():
            try:
                if isinstance(row, BadRow):
                    raise row
                yield read_row(row, self.fields)
            except BadRow as cause:
                self._skip(place, cause)

    def _skip(self, place: str, cause: BadRow) -> None:
        if not self.skip_bad:
            raise LoraparError(
                f"`{place}` is not a valid record",
                str(cause),
                "fix it, skip invalid records with `--skip-bad`, or name the fields with "
                "`--format` or with `--prompt-field` and `--completion-field`",
            ) from cause
        self.bad_count += 1
        if len(self.bad) < 5:
            self.bad.append(f"{place}: {cause}")


def open_source(
    data: str,
    fields: Fields | None = None,
    *,
    split: str = "train",
    subset: str | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
) -> Source:
    """Returns the data set of that name; only its existence is checked here.

    Args:
        data: A file (`.jsonl`, `.json`, `.csv`, `.tsv`, `.parquet`), a folder or a hub id.
        split: Which split of a folder or hub data set.
        subset: Which configuration of a hub data set.

    Raises:
        LoraparError: There is no such file, or its type is unknown.
        UsageError: Unknown format, or only one of prompt and completion field.
    """
    fields = fields or Fields()
    if fields.format != "auto" and fields.format not in FORMATS:
        raise UsageError(
            f"unknown format `{fields.format}`{nearest(fields.format, list(FORMATS))}",
            hint=f"formats: auto, {', '.join(FORMATS)}",
        )
    if bool(fields.prompt) != bool(fields.completion):
        raise UsageError("`--prompt-field` and `--completion-field` must be given together")
    path = Path(data)
    if path.is_file():
        rows, described = _reader(path), lambda: describe_inputs({"data": path})["data"]
    elif path.is_dir() or (_HUB_ID.fullmatch(data) and path.suffix not in SUFFIXES):
        loaded = _HubData(data, subset, split)
        rows, described = loaded.rows, loaded.describe
    else:
        raise LoraparError(
            f"no such data file: `{data}`",
            hint=f"give a file ({', '.join(SUFFIXES)}), a folder or a hub data set id",
        )
    return Source(data, fields, rows, described, skip_bad, limit)


def _reader(path: Path) -> Callable[[], Iterator[Placed]]:
    readers = {
        ".jsonl": _read_lines,
        ".ndjson": _read_lines,
        ".json": _read_json,
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise LoraparError(
            f"unknown file type: `{path}`",
            f"file name extension `{path.suffix}`" if path.suffix else "no file name extension",
            f"known extensions: {', '.join(SUFFIXES)}",
        )
    return lambda: _with_file_errors(path, reader)


def _with_file_errors(path: Path, reader: Callable[[Path], Iterator[Placed]]) -> Iterator[Placed]:
    try:
        yield from reader(path)
    except OSError as cause:
        raise LoraparError(f"cannot read `{path}`", cause.strerror or str(cause)) from cause


def _parse(text: str) -> Row | BadRow:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as cause:
        return BadRow(f"not valid JSON ({cause}): {shown(text)}")
    if not isinstance(value, dict):
        return BadRow(f"{type(value).__name__} instead of a JSON object: {shown(text)}")
    return value


def _read_lines(path: Path) -> Iterator[Placed]:
    # Bytes, because only "\n" ends a line here: text mode would also split at a lone "\r".
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            text = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
            if not text.strip():
                continue
            try:
                yield f"{path}:{number}", _parse(text.decode())
            except UnicodeDecodeError as cause:
                yield f"{path}:{number}", BadRow(f"not UTF-8 text ({cause})")


def _read_json(path: Path) -> Iterator[Placed]:
    """Reads a JSON array element by element; a file of JSON Lines is read as such."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        start = file.read(_READ_CHARACTERS)
        while start.isspace():
            start = file.read(_READ_CHARACTERS)
        if start.lstrip().startswith("["):
            file.seek(0)
            yield from read_array(file, path)
            return
    yield from _read_lines(path)


def _read_csv(path: Path) -> Iterator[Placed]:
    csv.field_size_limit(sys.maxsize)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        names = None
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as cause:
                # The reader resumes at the line after the one that it could not read.
                yield f"{path}:{reader.line_num}", BadRow(f"not valid CSV ({cause})")
                continue
            if cells is None:
                return
            if names is None:
                names = cells
            elif cells:
                yield f"{path}:{line}", _csv_row(names, cells)


def _csv_row(names: list[str], cells: list[str]) -> Row | BadRow:
    if len(cells) != len(names):
        return BadRow(f"{len(cells)} cells where the header names {len(names)}")
    return dict(zip(names, cells, strict=True))


def _read_parquet(path: Path) -> Iterator[Placed]:
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        # Otherwise whole row groups are read ahead, which is most of the file.
        streamed = {"pre_buffer": False, "buffer_size": _READ_CHARACTERS}
        with pyarrow.parquet.ParquetFile(path, **streamed) as file:
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:row {number}", _plain(row)
    except pyarrow.ArrowException as cause:
        raise LoraparError(f"`{path}` is not a Parquet file", str(cause).splitlines()[0]) from cause


def _plain(value: Any) -> Any:
    """Returns a value as JSON can represent it.

    Dates become ISO 8601, decimals and durations text, bytes base64, NaN and infinity null.
    """
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Decimal | timedelta | UUID) else value


class _HubData:
    """A hub data set or a folder of data files, loaded by `datasets`, which caches it on disk."""

    def __init__(self, name: str, subset: str | None, split: str) -> None:
        self.name, self.subset, self.split = name, subset, split
        self._loaded: Any = None

    def _load(self) -> Any:
        if self._loaded is None:
            import datasets

            datasets.disable_progress_bars()
            try:
                self._loaded = datasets.load_dataset(self.name, self.subset, split=self.split)
            except Exception as cause:
                # The library passes on any exception of its storage back ends.
                raise LoraparError(
                    f"cannot load data set `{self.name}`",
                    (str(cause).strip() or type(cause).__name__).splitlines()[0],
                    "check the id, `--subset` and `--split`, or give a file",
                ) from cause
        return self._loaded

    def rows(self) -> Iterator[Placed]:
        for number, row in enumerate(self._load(), 1):
            yield f"{self.name}[{self.split}]:row {number}", _plain(dict(row))

    def describe(self) -> dict[str, str]:
        """Returns the data set's name and a digest of the fingerprint that `datasets` gives it."""
        known = f"{self.name} {self.subset} {self.split} {self._load()._fingerprint}"
        return {"path": self.name, "sha256": hashlib.sha256(known.encode()).hexdigest()}
