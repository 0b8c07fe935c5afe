"""Logs of training with one JSON object per line, each of an optimizer step."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.records import parse_line, to_line


class StepLog:
    """A JSON Lines file that grows with training; resuming from a step drops later lines.

    Args:
        path: The file.
        resumed_step: Step of the checkpoint that training resumes from; 0 for a new run.
    """

    def __init__(self, path: Path, resumed_step: int) -> None:
        self._path = path
        kept = []
        if path.exists() and resumed_step:
            # Not splitlines: completions may contain other characters that it takes for line ends.
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
            for number, line in enumerate(lines, 1):
                try:
                    value = parse_line(line, path, number)
                except LoraparError:
                    break  # The last line of a killed run may be truncated.
                if value["step"] <= resumed_step:
                    kept.append(line + "\n")
        with atomic_file(path) as file:
            file.writelines(kept)

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Appends objects, each with its `step`, and flushes them to the disk."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.writelines(to_line(line) for line in lines)
            file.flush()
            os.fsync(file.fileno())
