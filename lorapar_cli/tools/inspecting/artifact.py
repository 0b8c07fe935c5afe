"""`inspect`: whatever a command has written, or an adapter of PEFT, told apart by its content."""

from collections.abc import Callable
from pathlib import Path

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Artifact
from lorapar_cli.store.disk.regular_files import exists
from lorapar_cli.tools.inspect_file import ImportanceReport, MaskReport, inspect_file
from lorapar_cli.tools.inspecting.adapter import AdapterReport, inspect_adapter
from lorapar_cli.tools.inspecting.folders import (
    ResultsReport,
    RunReport,
    StageReport,
    inspect_results,
    inspect_run,
    inspect_stage,
    is_run,
)
from lorapar_cli.tools.inspecting.lines import LinesReport, inspect_lines

Report = (
    MaskReport
    | ImportanceReport
    | AdapterReport
    | StageReport
    | LinesReport
    | ResultsReport
    | RunReport
)
Whole = Callable[[Path], StageReport | LinesReport | ResultsReport | RunReport]


def inspect_artifact(path: Path, *, tensor: str | None = None, top: int = 10) -> Report:
    """Returns what a file or folder holds.

    Args:
        path: A file or folder that a command wrote, or an adapter of PEFT.
        tensor: A tensor's name, or a part that only one name has; None for all.
        top: Number of top elements of importance to list.

    Raises:
        LoraparError: There is no such file, it is damaged, or nothing that can be inspected.
        UsageError: `tensor` of what has no tensors.
    """
    if path.is_dir() and exists(path / ADAPTER_CONFIG):
        return inspect_adapter(path, tensor)
    if path.name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG) and exists(path.parent / ADAPTER_CONFIG):
        return inspect_adapter(path.parent, tensor)
    whole = _reader(path)
    if whole is None:
        return inspect_file(path, tensor=tensor, top=top)
    if tensor is not None:
        raise UsageError(f"`--tensor` of `{path}`, which has no tensors")
    return whole(path)


def _reader(path: Path) -> Whole | None:
    """Returns what reads a file or folder without tensors; None for importance and masks.

    Raises:
        LoraparError: It is none of these.
    """
    if path.is_dir():
        if exists(path / Artifact.IMPORTANCE) or exists(path / Artifact.MASK):
            return None
        if exists(path / Artifact.MANIFEST):
            return inspect_stage
        if exists(path / Artifact.RESULTS):
            return lambda folder: inspect_results(folder / Artifact.RESULTS)
        if is_run(path):
            return inspect_run
    elif path.name == Artifact.MANIFEST:
        return lambda file: inspect_stage(file.parent)
    elif path.suffix in (".safetensors", "") or not exists(path):
        return None
    elif path.suffix == ".jsonl":
        return inspect_lines
    elif path.suffix == ".json":
        return inspect_results
    raise LoraparError(
        f"`{path}` is nothing that can be inspected",
        hint="name a run directory, a stage's folder, an adapter, or a file in one of these: "
        "`.safetensors`, `.jsonl`, `results.json`, `manifest.json`",
    )
