"""Working in a stage folder: alone, and with an expected error for whatever the disk refuses."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lorapar_cli.launcher import is_main
from lorapar_cli.store.disk.errors import disk_errors
from lorapar_cli.store.disk.lock import stage_lock
from lorapar_cli.store.manifest import Outcome


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Holds a stage folder for this command until the block ends.

    Of the processes of one launch the first holds it for all: the launcher ends the others where it
    is refused.

    Raises:
        LoraparError: Another command works there, or the file system refuses something.
    """
    with disk_errors(folder):
        if is_main():
            with stage_lock(folder):
                yield
        else:
            yield


def reuse_or_make(
    folder: Path, find: Callable[[], Outcome | None], make: Callable[[], Outcome]
) -> Outcome:
    """Returns the result that `find` finds, else the one that `make` makes.

    It is looked for once more inside the lock: another command may have made it meanwhile.
    """
    if (found := find()) is not None:
        return found
    with working_in(folder):
        return find() or make()
