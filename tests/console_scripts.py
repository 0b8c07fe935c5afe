"""Programs of installed packages, such as `torchrun`, run by the interpreter of the tests.

`.venv-extras` sees the packages of `.venv`, not the programs in its `bin`.
"""

import shlex
import sys
from importlib.metadata import entry_points
from pathlib import Path


def console_script(name: str) -> list[str]:
    """Returns the command that runs a package's console script; arguments may follow."""
    (entry,) = entry_points(group="console_scripts", name=name)
    main = entry.attr
    code = (
        f"import sys; from {entry.module} import {main}; sys.argv[0] = {name!r}; sys.exit({main}())"
    )
    return [sys.executable, "-c", code]


def put_on_path(name: str, folder: Path) -> None:
    """Writes a program of that name into `folder`, which runs the console script."""
    program = folder / name
    program.write_text(f'#!/bin/sh\nexec {shlex.join(console_script(name))} "$@"\n')
    program.chmod(0o755)
