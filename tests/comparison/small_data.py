"""Labelled records for comparisons and sweeps that take seconds."""

import json
from pathlib import Path


def write_products(path: Path, count: int, factor: int) -> Path:
    """Writes records about n times the factor, System 2 and System 1 in turn; returns the file."""
    rows = [
        {
            "id": f"r{n}",
            "prompt": f"What is {n} times {factor}?",
            "completion": f"#### {factor * n}",
            "reference_answer": str(factor * n),
            "label": "system1" if n % 2 else "system2",
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
