"""Standard input as a data file: read once into a temporary file, which can be read repeatedly."""

import hashlib
import io
import os
import sys
import tempfile
from typing import IO, cast

from lorapar_cli.data.files import DataFile, decompressed
from lorapar_cli.errors import LoraparError, UsageError

NAME = "standard input"
_CHUNK_BYTES = 1 << 20
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}


class _View(io.RawIOBase):
    """Reads a file from its start with a position of its own; closing leaves the file open."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._position = file, 0

    def readable(self) -> bool:
        """Returns True, as `io.BufferedReader` asks."""
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fills the buffer as far as the file goes, and returns the number of bytes."""
        read = os.pread(self._file.fileno(), len(buffer), self._position)
        buffer[: len(read)] = read
        self._position += len(read)
        return len(read)


def read_stdin() -> tuple[DataFile, str]:
    """Returns standard input as JSON Lines or a JSON array, compressed or not, and its sha256.

    The temporary file has no name on the disk, so that nothing is left when the process ends.

    Raises:
        LoraparError: There is not enough space for a copy.
        UsageError: Standard input is a terminal.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            "`-` reads standard input, which is a terminal", hint="pipe the records into it"
        )
    digest = hashlib.sha256()
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - it is open as long as it may be read.
    try:
        while chunk := sys.stdin.buffer.read(_CHUNK_BYTES):
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
    except OSError as cause:
        raise LoraparError(f"cannot copy {NAME}", cause.strerror or str(cause)) from cause
    start = os.pread(copy.fileno(), 4, 0)
    compression = next((each for magic, each in _MAGIC.items() if start.startswith(magic)), "")

    def open_copy() -> IO[bytes]:
        return decompressed(cast(IO[bytes], io.BufferedReader(_View(copy))), compression)

    return DataFile(NAME, ".json", open_copy), digest.hexdigest()
