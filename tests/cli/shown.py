"""Results as a command shows them."""

import io

from rich.console import Console

from lorapar_cli.names import Stage
from lorapar_cli.store.manifest import Manifest


def shown(renderables: list) -> str:
    """Returns what is printed of tables and lines."""
    console = Console(file=io.StringIO(), width=120)
    for each in renderables:
        console.print(each)
    return console.file.getvalue()


def training_manifest(stage: Stage, data: str, records: dict[str, int], **metrics) -> Manifest:
    """Returns a finished manifest of a training stage."""
    counts = {"records": records, "trained_records": 1234, "loss_tokens": 9, "elements": 2}
    counts |= {"active": 1, "active_moved": 1, "frozen_moved": 0}
    measured = {"processes": 1, "engine": "one process or data parallel", "steps": 3}
    settings = {"data": data, "replay": 0.0}
    manifest = Manifest(stage, settings, counts=counts, metrics=measured | metrics)
    manifest.ended = manifest.started
    return manifest
