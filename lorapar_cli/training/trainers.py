"""What both stages ask of a TRL trainer beside training: its own checks, and what it logged."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import Trainer

from lorapar_cli.errors import UsageError


@contextmanager
def checked_arguments(extra: dict[str, Any]) -> Iterator[None]:
    """Turns what a trainer's constructor refuses into a usage error, where the user added to it.

    Args:
        extra: Trainer arguments that the user gave; without any a refusal is a defect of ours.
    """
    try:
        yield
    except (ValueError, TypeError, ImportError) as cause:
        if not extra:
            raise
        raise UsageError(
            "the trainer does not take these training arguments",
            str(cause).strip(),
            f"given with `--training`: {', '.join(sorted(extra))}",
        ) from cause


def logged(trainer: Trainer, key: str) -> list[float]:
    """Returns a figure of every step that logged it, those before a resume included."""
    return [entry[key] for entry in trainer.state.log_history if key in entry]
