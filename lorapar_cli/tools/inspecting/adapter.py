"""A PEFT adapter, ours or another program's: its configuration, and its tensors by their headers."""

from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from lorapar_cli.store.disk.regular_files import exists, read_json
from lorapar_cli.store.importance_file import TensorFile
from lorapar_cli.store.tensor_files import layout_fingerprint
from lorapar_cli.store.verify import check_written, writer_of
from lorapar_cli.tools.inspect_file import find_tensor
from lorapar_cli.tools.inspecting.tensors import pickled, sizes_by_kind

_LORA = "LORA"
_PICKLED = "adapter_model.bin"


class AdapterReport(TypedDict):
    """A PEFT adapter.

    Keys:
        stage: That wrote it; None for one of another program, or a checkpoint.
        base_model: As its configuration names it; None where it names none.
        settings: Entries of its configuration that are set, method and base model apart.
        tensors, elements: Their numbers.
        by_kind: Module and matrix -> elements, of LoRA; else name, with `*` for numbers -> elements.
        layout_fingerprint: Of names and shapes, which masks and importance have too.
        tensor, shape, dtype: Of the tensor that was asked for.
    """

    path: str
    kind: Literal["adapter"]
    stage: str | None
    method: str
    base_model: str | None
    settings: dict[str, Any]
    bytes: int
    dtypes: list[str]
    tensors: int
    elements: int
    by_kind: dict[str, int]
    layout_fingerprint: str
    tensor: NotRequired[str]
    shape: NotRequired[list[int]]
    dtype: NotRequired[str]


def inspect_adapter(folder: Path, tensor: str | None = None) -> AdapterReport:
    """Returns what an adapter's folder holds; loads no weights.

    Args:
        tensor: A tensor's name, or a part that only one name has; None for none.

    Raises:
        LoraparError: A file is missing, damaged or pickled, or there is no such tensor.
    """
    weights, configuration = folder / ADAPTER_WEIGHTS, folder / ADAPTER_CONFIG
    if not exists(weights):
        if exists(folder / _PICKLED):
            raise pickled(folder / _PICKLED)
        raise LoraparError(f"`{folder}` has the configuration of an adapter and no weights")
    check_written(weights)
    check_written(configuration)
    config = read_json(configuration)
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise LoraparError(f"`{configuration}` is no adapter's configuration: no `peft_type`")
    file = TensorFile(weights)
    written = writer_of(weights)
    base_model = config.get("base_model_name_or_path")
    report: AdapterReport = {
        "path": str(folder),
        "kind": "adapter",
        "stage": None if written is None else written[1].stage,
        "method": config["peft_type"],
        "base_model": base_model if isinstance(base_model, str) else None,
        "settings": {key: value for key, value in config.items() if _is_set(key, value)},
        "bytes": weights.stat().st_size,
        "dtypes": sorted({file.dtype(name) for name in file.shapes}),
        "tensors": len(file.shapes),
        "elements": sum(file.size(name) for name in file.shapes),
        "by_kind": sizes_by_kind([file]),
        "layout_fingerprint": layout_fingerprint(file.shapes),
    }
    if tensor is not None:
        found = find_tensor(tensor, sorted(file.shapes), weights)
        report["tensor"], report["shape"] = found, list(file.shapes[found])
        report["dtype"] = file.dtype(found)
    return report


def _is_set(key: str, value: Any) -> bool:
    return key not in ("peft_type", "base_model_name_or_path") and value not in (None, {}, [], "")
