"""matplotlib, an extra."""

import importlib.util

from lorapar_cli.errors import LoraparError


def require_matplotlib() -> None:
    """Refuses pictures where matplotlib is not installed.

    Raises:
        LoraparError: Names the extra.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise LoraparError("`--plot` needs matplotlib", hint="pip install 'lorapar[plot]'")
