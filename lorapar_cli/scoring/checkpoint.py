"""Copies of the sums on disk, from which an interrupted `score` resumes."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lorapar_cli.errors import LoraparError
from lorapar_cli.scoring.accumulate import GradientPass
from lorapar_cli.store.disk.regular_files import UnreadableError, exists
from lorapar_cli.store.tensor_files import Tensors, read_tensors, write_tensors

# A copy that takes this long to write costs 3 % of a minute.
_CHEAP_SECONDS = 2.0


class SavedSums:
    """One process's sums of one system, saved at intervals.

    Args:
        path: The file.
        identity: Everything that must be equal for the sums to be resumed from.
        seconds: Time between two copies; longer where writing one takes long, in proportion.

    Attributes:
        damage: What is wrong with the sums that were found, None where nothing is.
    """

    def __init__(self, path: Path, identity: dict[str, Any], seconds: float) -> None:
        self._path = path
        self._identity = identity
        self._seconds = self._wait = seconds
        self._last = time.monotonic()
        self._written = False
        self.damage: str | None = None

    def restore(self, scoring: GradientPass) -> int:
        """Puts saved sums into `scoring`; returns the number of samples in them.

        Damaged ones count as none.
        """
        try:
            saved = read_partial(self._path, self._identity)
        except UnreadableError:
            raise
        except LoraparError as cause:
            self.damage = cause.found or cause.what
            return 0
        if saved is None:
            return 0
        arrays, done = saved
        scoring.sums.flat.copy_(torch.from_numpy(arrays["flat"]))
        scoring.sums.tally.copy_(torch.from_numpy(arrays["tally"]))
        scoring.done |= done
        return len(done)

    def keep(self, scoring: GradientPass) -> None:
        """Saves the sums if the interval has passed."""
        if time.monotonic() - self._last >= self._wait:
            self._write(scoring)

    def finish(self, scoring: GradientPass) -> None:
        """Saves the complete sums of a pass that was long enough to have been saved before."""
        if self._written:
            self._write(scoring)

    def _write(self, scoring: GradientPass) -> None:
        started = time.monotonic()
        sums = scoring.sums
        arrays = {"flat": sums.flat.cpu().numpy(), "tally": sums.tally.cpu().numpy()}
        write_partial(self._path, arrays, scoring.done, self._identity)
        self._last = time.monotonic()
        self._wait = self._seconds * max(1.0, (self._last - started) / _CHEAP_SECONDS)
        self._written = True


def partial_folder(target: Path) -> Path:
    """Returns the hidden folder next to a stage folder that holds unfinished sums."""
    return target.with_name(f".{target.name}.partial")


def write_partial(path: Path, tensors: Tensors, done: set[int], identity: dict[str, Any]) -> None:
    """Writes sums and the indices of the samples in them, atomically.

    Args:
        identity: Everything that must be equal for the sums to be resumed from.
    """
    arrays = tensors | {"done": np.array(sorted(done), np.int64)}
    write_tensors(path, arrays, {"identity": identity, "sha256": _digest(arrays)})


def _digest(arrays: Tensors) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def read_partial(path: Path, identity: dict[str, Any]) -> tuple[Tensors, set[int]] | None:
    """Returns sums and sample indices, or None where the file has none of this identity.

    Raises:
        LoraparError: The file was damaged.
        UnreadableError: It may not be read.
    """
    if not exists(path):
        return None
    tensors, metadata = read_tensors(path)
    if metadata.get("identity") != json.dumps(identity):
        return None
    if metadata.get("sha256") != _digest(tensors):
        raise LoraparError(f"`{path}` was damaged", "its values are not those that were written")
    return tensors, set(tensors.pop("done").tolist())
