"""One process at a time in a stage folder: the others are told who is there.

The lock is `flock` on a hidden file next to the stage folder. The kernel drops it when its process
ends, however it ends, so that a kill leaves nothing to clean up. Where a file system has no
`flock` (some network mounts), the existence of the file is the lock: it is created exclusively,
names its owner, and is taken over once that process is known to be gone, which can only be known on
the machine it ran on. A folder that is a link is held by what it leads to.
"""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.links import real_folder

_NO_FLOCK = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL}
_TRIES = 100


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        started: When the process itself started, in the kernel's ticks since boot; tells it from a
            later process with the same number. None where the system does not say.
        since: When it took the lock, ISO 8601 in UTC.
    """

    pid: int
    host: str
    started: int | None
    since: str

    def is_gone(self) -> bool:
        """Returns whether the process is known to have ended."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return self.started is not None and _start_ticks(self.pid) != self.started


def lock_path(folder: Path) -> Path:
    """Returns the hidden file next to a stage folder that stands for its lock."""
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def stage_lock(folder: Path) -> Iterator[None]:
    """Holds a stage folder for this process until the block ends.

    Raises:
        LoraparError: Another process holds it; names its number, host and since when.
    """
    path = lock_path(real_folder(folder))
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _take(path, folder)
    try:
        yield
    finally:
        # Removed while it is still held: who opened it before finds it gone and opens a new one.
        path.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)
        _remove_empty(made)


def _remove_empty(folders: list[Path]) -> None:
    """Removes folders that were made for the lock and hold nothing: work that failed leaves none."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def _take(path: Path, folder: Path) -> int | None:
    """Takes the lock; returns the descriptor that holds it, None where the file's existence does."""
    for _ in range(_TRIES):
        descriptor, created = _open(path)
        try:
            by_kernel = lock_descriptor(descriptor)
            if by_kernel and not _is_same_file(path, descriptor):
                # Its last holder removed the file between the opening and the locking.
                os.close(descriptor)
                continue
            if by_kernel or created:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, _describe_self(), 0)
                if by_kernel:
                    return descriptor
                os.fsync(descriptor)
                os.close(descriptor)
                return None
        except BlockingIOError as cause:
            os.close(descriptor)
            raise _held(folder, _read_owner(path)) from cause
        except OSError:
            os.close(descriptor)
            if created:
                path.unlink(missing_ok=True)
            raise
        os.close(descriptor)
        owner = _read_owner(path)
        if owner is None or not owner.is_gone():
            raise _held(folder, owner, path)
        _remove_stale(path, owner)
    raise _held(folder, _read_owner(path), path)


def _open(path: Path) -> tuple[int, bool]:
    """Returns a descriptor of the lock's file, and whether this call created the file."""
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), True
        except FileExistsError:
            with suppress(FileNotFoundError):
                return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), False


def lock_descriptor(descriptor: int) -> bool:
    """Locks an open file for this process; returns whether its file system has such locks.

    Raises:
        BlockingIOError: Another process holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        if cause.errno in _NO_FLOCK:
            return False
        raise
    return True


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


def _remove_stale(path: Path, owner: Owner) -> None:
    """Removes the lock of an owner that is gone, unless another process was quicker."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if _read_owner(aside) != owner:
        # In between somebody else removed the stale lock and took its place: give it back.
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()


def _held(folder: Path, owner: Owner | None, path: Path | None = None) -> LoraparError:
    found = (
        f"process {owner.pid} on {owner.host}, since {owner.since}"
        if owner is not None
        else "a process that has not written its number yet"
    )
    hint = "wait until it has finished, or stop it"
    if path is not None:
        hint += f"; if it is gone, remove `{path}`"
    return LoraparError(f"another lorapar command is working in `{folder}`", found, hint)


def _describe_self() -> bytes:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    owner = Owner(os.getpid(), socket.gethostname(), _start_ticks(os.getpid()), since)
    return json.dumps(asdict(owner)).encode()


def _read_owner(path: Path) -> Owner | None:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return Owner(**content)
    except (OSError, ValueError, TypeError):
        return None


def _start_ticks(pid: int) -> int | None:
    """Returns when a process started, in ticks since boot, None where the system does not say."""
    try:
        # The name of a process stands in parentheses and may hold blanks and parentheses itself.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
