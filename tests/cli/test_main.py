"""What the command sets for libraries before they are loaded."""

import os
import subprocess
import sys

# torch comes after what the command sets, as it does in every command that needs it.
_LOADED_AFTERWARDS = """
import sys
from lorapar_cli.cli.main import main
try:
    main(["--version"])
finally:
    import torch
"""


def shown(**given: str) -> dict[str, str]:
    """Returns the settings that torch's OpenMP shows, once the command has begun."""
    unset = {key: value for key, value in os.environ.items() if "OMP_" not in key}
    done = subprocess.run(
        [sys.executable, "-c", _LOADED_AFTERWARDS],
        capture_output=True,
        text=True,
        env=unset | {"OMP_DISPLAY_ENV": "verbose"} | given,
    )
    assert done.returncode == 0, done.stderr
    pairs = (line.split("=", 1) for line in done.stderr.splitlines() if "=" in line)
    return {key.split()[-1]: value.strip(" ';").lower() for key, value in pairs}


def test_threads_that_wait_soon_sleep_unless_told_otherwise():
    found = shown()
    assert found["OMP_WAIT_POLICY"] == "passive"
    # GNU's OpenMP calls a policy that nobody has set passive too, and spins 300,000 rounds.
    assert found.get("GOMP_SPINCOUNT", "1000") == "1000"
    active = shown(OMP_WAIT_POLICY="active")
    assert active["OMP_WAIT_POLICY"] == "active"
    assert active.get("GOMP_SPINCOUNT") != "1000"
    assert shown(GOMP_SPINCOUNT="7").get("GOMP_SPINCOUNT", "7") == "7"
