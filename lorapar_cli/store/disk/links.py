"""Links in place of folders: a result replaces what a link leads to, and the link stays."""

import os
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.regular_files import exists


def real_folder(target: Path) -> Path:
    """Returns the folder that `target` stands for: what it leads to where it is a link.

    A result replaces the folder behind a link, which stays. The folder need not exist, unless it is
    behind a link.

    Raises:
        LoraparError: It is a link that leads nowhere, or not a folder.
    """
    if not exists(target):
        return target
    try:
        real = target.resolve(strict=True) if target.is_symlink() else target
    except (OSError, RuntimeError) as cause:
        if isinstance(cause, PermissionError):
            raise
        raise LoraparError(
            f"`{target}` is a link that leads nowhere",
            f"`{os.readlink(target)}`",
            "make the folder that it is to lead to, or remove the link",
        ) from cause
    if not real.is_dir():
        raise LoraparError(f"`{target}` is not a folder", hint="remove it, or choose another place")
    return real
