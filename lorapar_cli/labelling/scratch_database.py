"""A scratch database: what a run must look up but cannot hold in memory, on disk while it runs.

Its file loses its name as soon as it is open, so the system takes it back when the process ends,
however that ends.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lorapar_cli.errors import LoraparError

_CACHE_KIB = 2048
_DISK_ERRORS = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}


@contextmanager
def scratch_database(target: Path) -> Iterator[sqlite3.Connection]:
    """Yields an empty database on the disk of `target`; nothing of it is left behind.

    It holds a few MB of itself in memory, however large it grows. Nothing is ever committed:
    there is no other reader.

    Args:
        target: A folder that need not exist; the database lies in the nearest one above it.

    Raises:
        LoraparError: The disk is full or cannot be written.
    """
    place = next(folder for folder in target.absolute().parents if folder.is_dir())
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", suffix=".tmp", dir=place)
    except OSError as cause:
        raise _unwritable(place, str(cause.strerror)) from cause
    os.close(descriptor)
    try:
        database = sqlite3.connect(name, isolation_level=None)
    finally:
        os.unlink(name)
    try:
        # What sorting spills goes beside it: the system's own place may be small, or memory.
        quoted = str(place).replace("'", "''")
        for setting in (
            "journal_mode = OFF",
            "synchronous = OFF",
            "locking_mode = EXCLUSIVE",
            "mmap_size = 0",
            f"cache_size = -{_CACHE_KIB}",
            "temp_store = FILE",
            f"temp_store_directory = '{quoted}'",
        ):
            database.execute(f"PRAGMA {setting}")
        database.execute("BEGIN")
        yield database
    except sqlite3.OperationalError as cause:
        if getattr(cause, "sqlite_errorcode", 0) & 0xFF in _DISK_ERRORS:
            raise _unwritable(place, str(cause)) from cause
        raise
    finally:
        # That directory is one for the whole process.
        database.execute("PRAGMA temp_store_directory = ''")
        database.close()


def _unwritable(place: Path, cause: str) -> LoraparError:
    return LoraparError(
        f"cannot write a working file in `{place}`",
        cause,
        "mend that and give the same command again; the answers so far are kept",
    )
