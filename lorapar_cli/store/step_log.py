"""JSON Lines that grow with training."""

import json
import os
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.records import parse_line


class StepLog:
    """A JSON Lines file that grows with training; going on from a step drops what came after.

    Args:
        path: The file.
        resumed_step: Lines of later steps are of work that was lost, and are cut off.
    """

    def __init__(self, path: Path, resumed_step: int) -> None:
        self._path = path
        kept = []
        if path.exists() and resumed_step:
            # Not splitlines: completions may hold other characters that it takes for line ends.
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
            for number, line in enumerate(lines, 1):
                try:
                    value = parse_line(line, path, number)
                except LoraparError:
                    break  # The last line of a killed run may be cut off.
                if value["step"] <= resumed_step:
                    kept.append(line + "\n")
        with atomic_file(path) as file:
            file.writelines(kept)

    def append(self, lines: list[dict]) -> None:
        """Adds lines, each with its `step`, and hands them to the system."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
