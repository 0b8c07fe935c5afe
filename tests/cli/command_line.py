"""`lorapar` as it is typed, in a process of its own."""

import os
import subprocess
import sys

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
