"""The journal of an evaluation: what a killed run has answered is not asked again."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lorapar_cli.store.records import to_line

Sample = dict[str, Any]
Key = tuple[str, str, int]


def sample_key(sample: Sample) -> Key:
    """Returns what identifies a sample: model, item id, number of the draw."""
    return sample["model"], sample["id"], sample.get("draw", 0)


class SampleJournal:
    """An append-only JSON Lines file of samples, read back when a run goes on.

    Attributes:
        known: Every sample written so far, by key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.known: dict[Key, Sample] = {}
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    sample = json.loads(line)
                    self.known[sample_key(sample)] = sample
                except (ValueError, KeyError, TypeError):
                    break
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
            # What a kill cut off in the middle of a line must not stand before the next one.
            os.truncate(path, whole)

    def append(self, samples: Iterable[Sample]) -> None:
        """Adds samples and returns when they are on the disk."""
        samples = list(samples)
        with open(self._path, "a", encoding="utf-8", newline="\n") as file:
            file.writelines(to_line(sample) for sample in samples)
            file.flush()
            os.fsync(file.fileno())
        self.known.update((sample_key(sample), sample) for sample in samples)
