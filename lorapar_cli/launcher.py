"""Which process of a launch this is, as `torchrun` and `accelerate launch` say it.

Both set `RANK` and `WORLD_SIZE` in each process that they start, and neither without a launcher.
"""

import os
from collections.abc import Mapping

from lorapar_cli.errors import LoraparError

Environment = Mapping[str, str]


def is_launched(environment: Environment = os.environ) -> bool:
    """Returns whether a launcher started this process."""
    return "WORLD_SIZE" in environment


def world_size(environment: Environment = os.environ) -> int:
    """Returns the number of processes of the launch on all nodes, 1 without a launcher.

    Raises:
        LoraparError: `WORLD_SIZE` is not a positive integer.
    """
    return _read_integer(environment, "WORLD_SIZE", default=1, minimum=1)


def rank(environment: Environment = os.environ) -> int:
    """Returns the number of this process within the launch, from 0; 0 without a launcher.

    Raises:
        LoraparError: `RANK` is not an integer of 0 or more.
    """
    return _read_integer(environment, "RANK", default=0, minimum=0)


def is_main(environment: Environment = os.environ) -> bool:
    """Returns whether this process reports to the user: rank 0, or one without a launcher."""
    return rank(environment) == 0


def _read_integer(environment: Environment, name: str, *, default: int, minimum: int) -> int:
    text = environment.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and int(text) >= minimum):
        raise LoraparError(
            f"environment variable `{name}` is not an integer of {minimum} or more",
            f"`{name}={text}`",
            f"unset it, or start the processes with `torchrun`, which sets `{name}` itself",
        )
    return int(text)
