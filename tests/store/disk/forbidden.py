"""Paths that the system refuses, also to root."""

import errno
import os


def forbid(monkeypatch, path):
    """Has opening and looking at a path, and at what is below it, refused."""
    for name in ("open", "lstat"):
        real = getattr(os, name)

        def refuse(given, *args, real=real, **options):
            if str(given) == str(path) or str(given).startswith(f"{path}/"):
                raise PermissionError(errno.EACCES, "Permission denied", str(given))
            return real(given, *args, **options)

        monkeypatch.setattr(os, name, refuse)
