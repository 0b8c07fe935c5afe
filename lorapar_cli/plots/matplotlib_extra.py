"""The check that matplotlib, an optional dependency, is installed."""

import importlib.util

from lorapar_cli.errors import LoraparError


def require_matplotlib() -> None:
    """Checks that matplotlib is installed.

    Raises:
        LoraparError: It is not; names the extra.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise LoraparError(
            "drawing plots needs matplotlib", hint="install it with `pip install 'lorapar[plot]'`"
        )
