"""Reads the rows of one file: JSON Lines, a JSON array, CSV or Parquet, compressed or not.

Nothing here holds more than one row or one Parquet batch at a time.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from lorapar_cli.data.json_stream import read_array, shown
from lorapar_cli.data.rows import BadRow, Row, kind_of
from lorapar_cli.data.tables import read_csv, read_parquet
from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.json_keys import DECODER, RepeatedKey
from lorapar_cli.store.disk.regular_files import describe_json_error, open_regular

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
"""File name extension -> name of the compression in pyarrow."""

_READ_CHARACTERS = 1 << 16
# The little-endian mark of UTF-16 also begins that of UTF-32.
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NESTED_ARRAY = re.compile(r'"(\w+)"\s*:\s*\[\s*\{')

# A place, for messages, and the row there or what is wrong with it.
Placed = tuple[str, Row | BadRow]


@dataclass(frozen=True)
class DataFile:
    """A file of a known kind, which can be read repeatedly.

    Attributes:
        name: For places and messages.
        kind: One of `SUFFIXES`.
        open: Opens it as bytes, decompressed.
        path: Where it lies; None for what came from a pipe.
    """

    name: str
    kind: str
    open: Callable[[], IO[bytes]]
    path: Path | None = None

    def rows(self) -> Iterator[Placed]:
        """Yields place and row of each record of the file.

        Raises:
            LoraparError: It cannot be read, or not as the kind that its name says.
        """
        place = None
        try:
            for place, row in self._read():
                yield place, row
        except OSError as cause:
            reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
            behind = f"{reason}, after `{place}`" if place else reason
            raise LoraparError(f"cannot read `{self.name}`", behind) from cause

    def _read(self) -> Iterator[Placed]:
        if self.kind == ".parquet":
            return read_parquet(cast(Path, self.path))
        self._check_encoding()
        if self.kind in (".csv", ".tsv"):
            return read_csv(self.open, self.name, "\t" if self.kind == ".tsv" else ",")
        return self._read_json() if self.kind == ".json" else self._read_lines()

    def _check_encoding(self) -> None:
        """Refuses text in UTF-16, in which no line could be read."""
        with self.open() as file:
            start = file.read(4)
        if start.startswith(_UTF_16) or start[1::2] == b"\0\0" or start[::2] == b"\0\0":
            raise LoraparError(
                f"`{self.name}` is not UTF-8 text",
                "it is UTF-16 or UTF-32",
                "convert it: `iconv -f UTF-16 -t UTF-8 FILE > NEW`",
            )

    def _read_json(self) -> Iterator[Placed]:
        """Reads a JSON array element by element; a file of JSON Lines is read as such."""
        with self._open_text() as file:
            start = file.read(_READ_CHARACTERS)
            while start.isspace():
                start = file.read(_READ_CHARACTERS)
        if not start.lstrip().startswith("["):
            yield from self._read_lines()
            return
        with self._open_text() as file:
            yield from read_array(file, self.name)

    def _open_text(self) -> IO[str]:
        return io.TextIOWrapper(
            self.open(), encoding="utf-8-sig", errors="surrogateescape", newline=""
        )

    def _read_lines(self) -> Iterator[Placed]:
        # Bytes, because only "\n" ends a line here: text mode would also split at a lone "\r".
        with self.open() as file:
            is_first = True
            for number, line in enumerate(file, 1):
                text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if not text.strip():
                    continue
                place = f"{self.name}:{number}"
                row = _parse(text)
                if is_first and isinstance(row, BadRow):
                    self._refuse_spread_object()
                    self._refuse_array(text)
                is_first = False
                yield place, row

    def _refuse_spread_object(self) -> None:
        """Refuses an object that goes on in the next line, as editors write it."""
        with self.open() as file:
            start = file.read(_READ_CHARACTERS).removeprefix(codecs.BOM_UTF8).lstrip()
        first, _, rest = start.partition(b"\n")
        if not first.startswith(b"{") or not rest.lstrip().startswith((b'"', b"}")):
            return
        hint = "write each record on a line of its own: `jq -c . FILE > NEW.jsonl`"
        nested = _NESTED_ARRAY.search(start.decode(errors="replace"))
        if nested:
            hint += f"; if the records are in `{nested[1]}`: `jq -c '.{nested[1]}[]' FILE`"
        raise LoraparError(
            f"`{self.name}` is neither JSON Lines nor a JSON array",
            "it is an object that takes several lines",
            hint,
        )

    def _refuse_array(self, first: bytes) -> None:
        """Refuses an array, which a file of this name is not read as."""
        start = first.strip()
        if start == b"[" or (start.startswith(b"[{") and start.endswith(b",")):
            raise LoraparError(
                f"`{self.name}` holds a JSON array, not JSON Lines",
                hint="name it `.json`, or write a record a line: `jq -c '.[]' FILE > NEW.jsonl`",
            )


def _parse(text: bytes) -> Row | BadRow:
    try:
        value = DECODER.decode(text.decode())
    except UnicodeDecodeError as cause:
        return BadRow(f"not UTF-8 text ({cause}); `iconv -f FROM -t UTF-8` converts a file")
    except RepeatedKey as cause:
        return BadRow(str(cause))
    except (ValueError, RecursionError) as cause:
        return BadRow(f"not valid JSON ({describe_json_error(cause)}): {shown(text.decode())}")
    if not isinstance(value, dict):
        return BadRow(f"{kind_of(value)} instead of a JSON object: {shown(text.decode())}")
    return value


def kind_of_name(name: str) -> tuple[str, str] | None:
    """Returns kind and compression that a file name says, `(".csv", ".gz")`; None if unknown."""
    # Not `Path.suffixes`: to it a name that begins with its only dot has none.
    suffixes = [f".{part}" for part in Path(name).name.lower().split(".")[1:]]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    if not suffixes or suffixes[-1] not in SUFFIXES:
        return None
    return suffixes[-1], compression


def data_file(path: Path) -> DataFile:
    """Returns the data file at a path.

    Raises:
        LoraparError: The path has no known extension.
    """
    known = kind_of_name(path.name)
    if known is None or (known[0] == ".parquet" and known[1]):
        suffixes = [f".{part}" for part in path.name.split(".")[1:] if part]
        found = "".join(suffixes[-2:] if path.suffix in COMPRESSIONS else suffixes[-1:])
        raise LoraparError(
            f"unknown file type: `{path}`",
            f"file name extension `{found}`" if found else "no file name extension",
            f"known extensions: {', '.join(SUFFIXES)}; text may be compressed, "
            f"{' or '.join(COMPRESSIONS)}",
        )
    kind, compression = known
    return DataFile(str(path), kind, lambda: _open(path, compression), path)


def _open(path: Path, compression: str) -> IO[bytes]:
    return decompressed(open_regular(path, "rb"), compression)


def decompressed(file: IO[bytes], compression: str) -> IO[bytes]:
    """Returns a file's bytes without its compression; closing them closes the file.

    Args:
        compression: One of `COMPRESSIONS`, or empty for none.
    """
    if not compression:
        return file
    import pyarrow

    packed = pyarrow.PythonFile(file, mode="r")
    stream = pyarrow.CompressedInputStream(packed, COMPRESSIONS[compression])
    return cast(IO[bytes], io.BufferedReader(stream))
