"""`lorapar` as it is typed, in a process of its own or in this one."""

import os
import subprocess
import sys

import pytest

from lorapar_cli.cli.main import main

KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY")


def lorapar(folder, *arguments, stdin=None, **environment):
    """Runs a command line in a folder, without the API keys of whoever runs the tests."""
    kept = {key: value for key, value in os.environ.items() if key not in KEYS}
    return subprocess.run(
        [sys.executable, "-m", "lorapar_cli", *arguments],
        cwd=folder,
        input=stdin,
        env=kept | {"NO_COLOR": "1"} | environment,
        capture_output=True,
        text=True,
    )


def printed(capfd, *arguments) -> str:
    """Runs a command line that must succeed in this process; returns what it writes to stdout."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    assert ended.value.code == 0
    return capfd.readouterr().out
