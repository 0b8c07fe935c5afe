"""Trackers of `--report-to`: that they can be used, and what keeps them from it."""

import importlib
import importlib.util
from types import ModuleType
from typing import Any

from transformers import Trainer
from transformers.integrations import SwanLabCallback

from lorapar_cli.errors import LoraparError


def require_tracker(name: str) -> None:
    """Checks that the tracker of `--report-to` is installed, before anything is loaded.

    Raises:
        LoraparError: Not installed, or something that it needs is missing.
    """
    if name == "none":
        return
    # A folder of that name, such as wandb creates where it writes, looks like a package without a
    # file.
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise LoraparError(f"tracker `{name}` is not installed", hint=f"`pip install {name}`")
    try:
        importlib.import_module(name)
    except ImportError as cause:
        raise LoraparError(
            f"tracker `{name}` cannot be imported", str(cause), f"`pip install -U {name}`"
        ) from cause


def adapt_trackers(trainer: Trainer) -> None:
    """Makes up for what transformers' callbacks expect of trackers and newer ones do not do."""
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, SwanLabCallback):
            callback._swanlab = _SwanLab(callback._swanlab)


class _SwanLab:
    """SwanLab's module, whose `get_run` returns None before there is a run.

    So it did before version 0.8 and so the callback expects it, which otherwise never starts one.
    """

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def get_run(self) -> Any:
        """Returns the run, or None."""
        try:
            return self._module.get_run()
        except RuntimeError:
            return None
