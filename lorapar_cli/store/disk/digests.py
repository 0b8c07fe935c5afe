"""sha256 of files, each read once in a process as long as it stays the same file."""

import os
import time
from pathlib import Path

from lorapar_cli.store.disk.regular_files import open_regular

_BLOCK = 1 << 20
# A file that was written so shortly before may be written again within the same tick of its clock.
_SETTLED_NS = 2 * 10**9
_Signature = tuple[int, int, int, int, int]
_known: dict[_Signature, str] = {}


def sha256_file(path: Path) -> str:
    """Returns the hex sha256 of a file's bytes.

    A file that has not been written to since this process last hashed it, by its number, size and
    times, is not read again.

    Raises:
        LoraparError: As `open_regular`.
    """
    import hashlib

    with open_regular(path, "rb", buffering=0) as file:
        signature = _signature(file.fileno())
        if signature in _known:
            return _known[signature]
        now, digest = time.time_ns(), hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
        found = digest.hexdigest()
        is_settled = now - max(signature[3:]) > _SETTLED_NS
        if is_settled and _signature(file.fileno()) == signature:
            _known[signature] = found
    return found


def _signature(descriptor: int) -> _Signature:
    """Returns device, number, size, and the times of the last writing and the last change."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
