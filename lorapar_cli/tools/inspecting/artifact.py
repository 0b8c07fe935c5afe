"""`inspect`: whatever a command has written, or an adapter of PEFT, told apart by its content."""

from collections.abc import Callable
from pathlib import Path

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Artifact, System
from lorapar_cli.store.disk.regular_files import exists, open_regular
from lorapar_cli.store.importance_file import TensorFile
from lorapar_cli.store.resumable_folder import UNFINISHED
from lorapar_cli.tools.inspect_file import ImportanceReport, MaskReport, inspect_file
from lorapar_cli.tools.inspecting.adapter import AdapterReport, inspect_adapter
from lorapar_cli.tools.inspecting.folders import (
    ResultsReport,
    RunReport,
    StageReport,
    inspect_evaluations,
    inspect_json,
    inspect_run,
    inspect_stage,
    is_evaluations,
    is_run,
)
from lorapar_cli.tools.inspecting.lines import LinesReport, inspect_lines
from lorapar_cli.tools.inspecting.tensors import (
    PICKLED,
    WeightsReport,
    has_weights,
    inspect_weights,
)
from lorapar_cli.tools.inspecting.unfinished import (
    ObjectReport,
    UnfinishedReport,
    inspect_unfinished,
    is_unfinished,
)

Report = (
    MaskReport
    | ImportanceReport
    | AdapterReport
    | WeightsReport
    | StageReport
    | UnfinishedReport
    | LinesReport
    | ResultsReport
    | ObjectReport
    | RunReport
)
Whole = Callable[
    [Path],
    StageReport | UnfinishedReport | LinesReport | ResultsReport | ObjectReport | RunReport,
]
_MOST_NAMES = 5
_FOR_PEOPLE = {
    **dict.fromkeys(
        (".md", ".csv", ".txt", ".yaml", ".yml", ".log"), "it is text: read it as it is"
    ),
    **dict.fromkeys((".html", ".png", ".svg", ".pdf"), "open it in a browser"),
}


def inspect_artifact(path: Path, *, tensor: str | None = None, top: int = 10) -> Report:
    """Returns what a file or folder holds.

    Args:
        path: A file or folder that a command wrote, an adapter of PEFT, or a model.
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
    if whole is not None:
        if tensor is not None:
            raise UsageError(f"`--tensor` of `{path}`, which has no tensors")
        return whole(path)
    if _is_ranked(path):
        return inspect_file(path, tensor=tensor, top=top)
    return inspect_weights(path, tensor)


def _reader(path: Path) -> Whole | None:
    """Returns what reads a file or folder without tensors; None for one with tensors.

    Raises:
        LoraparError: It is none of these.
    """
    if path.is_dir():
        return _folder_reader(path)
    if path.name == Artifact.MANIFEST:
        return lambda file: inspect_stage(file.parent)
    if path.name == UNFINISHED and exists(path):
        return lambda file: inspect_unfinished(file.parent)
    if not exists(path) or path.suffix == ".safetensors":
        return None
    if path.suffix == "":
        return inspect_json if _is_object(path) else None
    if path.suffix in PICKLED:
        raise LoraparError(
            f"`{path}` may be pickled and is not read",
            hint="weights are read in safetensors: save them with `safe_serialization=True`",
        )
    if path.suffix == ".jsonl":
        return inspect_lines
    if path.suffix == ".json":
        return inspect_json
    if how := _FOR_PEOPLE.get(path.suffix):
        raise LoraparError(f"`{path}` is for people, not for `inspect`", hint=how)
    raise _no_artifact(path, "")


def _folder_reader(path: Path) -> Whole | None:
    if exists(path / Artifact.IMPORTANCE) or exists(path / Artifact.MASK):
        return None
    if exists(path / Artifact.MANIFEST):
        return inspect_stage
    if is_unfinished(path):
        return inspect_unfinished
    if exists(path / Artifact.RESULTS):
        return lambda folder: inspect_json(folder / Artifact.RESULTS)
    if is_run(path):
        return inspect_run
    if is_evaluations(path):
        return inspect_evaluations
    if has_weights(path):
        return None
    names = sorted(each.name for each in path.iterdir())
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    listed = ", ".join(f"`{name}`" for name in names[:_MOST_NAMES])
    raise _no_artifact(path, f"a folder with {listed}{more}" if names else "an empty folder")


def _is_object(path: Path) -> bool:
    """Returns whether a file begins as JSON; a safetensors file begins with a multiple of 8."""
    with open_regular(path, "rb") as file:
        return bool(file.read(1) == b"{")


def _no_artifact(path: Path, found: str) -> LoraparError:
    return LoraparError(
        f"`{path}` is nothing that can be inspected",
        found,
        "name a run directory, a stage's folder, an adapter, a model, or a file in one of these: "
        "`.safetensors`, `.jsonl`, `.json`",
    )


def _is_ranked(path: Path) -> bool:
    """Returns whether a file or folder has importance or a mask, or is not there.

    Raises:
        LoraparError: It is no safetensors file.
    """
    names = (Artifact.IMPORTANCE, Artifact.MASK)
    if path.is_dir():
        return any(exists(path / name) for name in names)
    if path.name in names or not exists(path):
        return True
    file = TensorFile(path)
    prefixes = tuple(f"{system}/" for system in System)
    is_mask = "fingerprint" in file.metadata and all(file.dtype(n) == "U8" for n in file.shapes)
    return bool(file.shapes) and (is_mask or all(n.startswith(prefixes) for n in file.shapes))
