"""A scratch database for what a run looks up but cannot hold in memory.

It is a temporary SQLite file, unlinked as soon as it is opened, so that the system frees it when
the process ends, however it ends.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.votes.journal import RESUME_HINT

_CACHE_KIB = 2048
_DISK_ERRORS = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}


@contextmanager
def scratch_database(target: Path) -> Iterator[sqlite3.Connection]:
    """Yields an empty database on the disk of `target`; nothing of it remains afterwards.

    It uses a few MB of memory, however large it grows. Nothing is ever committed: there is no other
    reader.

    Args:
        target: A folder that need not exist; the file is created in its nearest existing parent.

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
        database = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
    finally:
        os.unlink(name)
    try:
        for setting in (
            "journal_mode = OFF",
            "synchronous = OFF",
            "locking_mode = EXCLUSIVE",
            "mmap_size = 0",
            f"cache_size = -{_CACHE_KIB}",
            "temp_store = FILE",
            *_spill_to(place),
        ):
            database.execute(f"PRAGMA {setting}")
        database.execute("BEGIN")
        yield database
    except sqlite3.OperationalError as cause:
        if getattr(cause, "sqlite_errorcode", 0) & 0xFF in _DISK_ERRORS:
            raise _unwritable(place, str(cause)) from cause
        raise
    finally:
        # This setting is global to the process.
        database.execute("PRAGMA temp_store_directory = ''")
        database.close()


def _spill_to(place: Path) -> list[str]:
    """Returns the setting by which sorting spills to a folder: the system's may be small, or memory.

    SQL is UTF-8: where the folder's name is not, the system's is used.
    """
    try:
        str(place).encode()
    except UnicodeEncodeError:
        return []
    quoted = str(place).replace("'", "''")
    return [f"temp_store_directory = '{quoted}'"]


def _unwritable(place: Path, cause: str) -> LoraparError:
    return LoraparError(
        f"cannot write a temporary file in `{place}`",
        cause,
        f"free some disk space or fix the permissions; {RESUME_HINT}",
    )
