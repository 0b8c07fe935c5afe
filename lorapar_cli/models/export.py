"""Exports adapters and merged weights, for transformers and PEFT alone.

An adapter needs no base model. Merging reads and writes one tensor after the other, so that memory
holds one of them and not the model; where the files name tensors otherwise than the model does, or
hold quantised ones, and where no earlier stage has loaded them, the whole model is merged in memory.
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils.hub import cached_file

from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Advance, Progress, silent
from lorapar_cli.models.adapter import load_adapter, read_lora_config
from lorapar_cli.models.base_model import (
    BaseModel,
    load_base,
    load_tokenizer,
    pick_dtype,
    transformers_model,
)
from lorapar_cli.models.rendering.chat_template import ChatTemplate
from lorapar_cli.models.safe_loading import library_errors
from lorapar_cli.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from lorapar_cli.store.tensor_files import TYPE_BYTES, stream_tensors

_OWN_TEMPLATE = ChatTemplate()

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_CONFIG = "config.json"
_PREFIX = "base_model.model."
_TASK = "merging"

_FLOAT_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}
_FLOATS = tuple(_FLOAT_NAMES.values())


def copy_adapter(adapter: Path, built: Path) -> None:
    """Writes an adapter's configuration and weights into `built`, and compares them.

    Raises:
        LoraparError: There is no adapter, or what was written differs.
    """
    read_lora_config(adapter)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        shutil.copyfile(adapter / name, built / name)
    with library_errors(f"cannot read the adapter in `{adapter}`"):
        written, trained = load_file(built / ADAPTER_WEIGHTS), load_file(adapter / ADAPTER_WEIGHTS)
    if bad := [name for name, tensor in trained.items() if not torch.isfinite(tensor).all()]:
        raise LoraparError(
            f"adapter `{adapter}` has values that are not finite", f"NaN or infinity in `{bad[0]}`"
        )
    if written.keys() != trained.keys() or any(
        not torch.equal(written[name], tensor) for name, tensor in trained.items()
    ):
        raise LoraparError("the export is not the adapter that was trained")


def merge(
    base: BaseModel,
    adapter: Path,
    built: Path,
    dtype: str,
    trust: bool,
    template: ChatTemplate = _OWN_TEMPLATE,
    *,
    known: bool = True,
    progress: Progress = silent,
) -> None:
    """Writes the base model with an adapter merged in, and its tokenizer, into an empty folder.

    Args:
        known: Whether an earlier stage has loaded these very weights, and so found them to be those
            that the configuration asks for.
        dtype: Of the weights; `auto` is that in which the base model stores each.
        template: Of the tokenizer.

    Raises:
        LoraparError: Base model and adapter do not belong together.
    """
    stored = None if dtype == "auto" else pick_dtype(dtype, torch.device("cpu"))
    updates = _read_updates(adapter)
    files = _weight_files(base) if known else []
    with library_errors(f"cannot read the weights of `{base.id}`"):
        owners = _find_tensors(files, updates, stored) if files else None
    if owners is None:
        progress(Advance(_TASK))
        _merge_whole(base, adapter, built, stored, trust)
    else:
        size, placed = 0, {key: updates[module] for key, module in owners.items()}
        for done, file in enumerate(files):
            progress(Advance(_TASK, done, len(files)))
            size += _merge_file(file, built, placed, stored)
        progress(Advance(_TASK, len(files), len(files)))
        _copy_configuration(base, built, stored, trust, size)
    load_tokenizer(base, trust, template).save_pretrained(built)


@dataclass(frozen=True)
class _Update:
    """What an adapter adds to one module's weight: `scale * B A`, transposed for Conv1D."""

    a: torch.Tensor
    b: torch.Tensor
    scale: float
    transposed: bool

    def is_of_other_kind(self, shape: Sequence[int]) -> bool:
        """Returns whether only the transposed update fits a weight of this shape."""
        added = (len(self.b), self.a.shape[1])
        expected = added[::-1] if self.transposed else added
        return tuple(shape) != expected and tuple(shape) == expected[::-1]

    def add_to(self, weight: torch.Tensor) -> torch.Tensor:
        """Returns weight and update in float32.

        Raises:
            LoraparError: Their shapes differ.
        """
        added = self.scale * (self.b.float() @ self.a.float())
        added = added.T if self.transposed else added
        if added.shape != weight.shape:
            raise LoraparError(
                "the adapter does not fit the base model",
                f"an update is {list(added.shape)}, the weight {list(weight.shape)}",
                "use the base model that the adapter was made for",
            )
        return weight.float() + added


def _read_updates(adapter: Path) -> dict[str, _Update]:
    """Returns module -> update, modules named as in the model.

    Raises:
        LoraparError: The adapter has tensors besides A and B of linear modules.
    """
    config = read_lora_config(adapter)
    tensors = load_file(adapter / ADAPTER_WEIGHTS)
    if others := [n for n in tensors if not n.endswith((".lora_A.weight", ".lora_B.weight"))]:
        raise LoraparError(
            f"adapter `{adapter}` contains more than LoRA matrices", f"`{min(others)}`"
        )
    updates = {}
    for name, a in tensors.items():
        if name.endswith(".lora_A.weight"):
            module = name.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
            alphas = config.alpha_pattern or {}
            alpha = alphas.get(get_pattern_key(list(alphas), module), config.lora_alpha)
            scale = alpha / (math.sqrt(len(a)) if config.use_rslora else len(a))
            b = tensors[name.replace(".lora_A.", ".lora_B.")]
            updates[module] = _Update(a, b, scale, config.fan_in_fan_out)
    return updates


def _weight_files(base: BaseModel) -> list[Path]:
    """Returns the base model's safetensors files, none where it has no such files at hand."""
    index = _find_file(base, _INDEX)
    if index is None:
        whole = _find_file(base, _WEIGHTS)
        return [whole] if whole else []
    names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    found = [_find_file(base, name) for name in names]
    return [path for path in found if path is not None] if all(found) else []


def _find_file(base: BaseModel, name: str) -> Path | None:
    found = cached_file(
        base.path,
        name,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else Path(found)


def _find_tensors(
    files: list[Path], updates: Mapping[str, _Update], stored: torch.dtype | None = None
) -> dict[str, str] | None:
    """Returns tensor -> module for the weights to update; None unless each module has exactly one.

    Files of a model without its head name modules without the first part (`h.0.attn.c_attn`).
    Tensors of a type that cannot be written, or that means nothing without a scale and is to become
    another, are not found; nor is a Conv1D among linear modules, since the adapter's configuration
    has one word for all of them.
    """
    owners: dict[str, str] = {}
    for name, kind, shape in _tensors(files):
        if kind not in TYPE_BYTES or (stored is not None and kind.startswith("F8")):
            return None
        module = name.removesuffix(".weight")
        matches = [each for each in updates if each == module or each.endswith(f".{module}")]
        if matches and name.endswith(".weight"):
            if (
                len(matches) > 1
                or kind not in _FLOATS
                or updates[matches[0]].is_of_other_kind(shape)
            ):
                return None
            owners[name] = matches[0]
    return owners if sorted(owners.values()) == sorted(updates) else None


def _tensors(files: list[Path]) -> Iterator[tuple[str, str, list[int]]]:
    """Yields each tensor's name, its type as files name it, and its shape."""
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                part = file.get_slice(name)
                yield name, part.get_dtype(), part.get_shape()


def _merge_file(
    file: Path, built: Path, updates: Mapping[str, _Update], stored: torch.dtype | None
) -> int:
    """Writes one file of weights with its updates, in `stored` or each tensor's own dtype.

    Returns:
        Bytes of its tensors.

    Raises:
        LoraparError: A value is not finite, or an update does not fit its weight.
    """
    with safe_open(file, framework="pt") as source:
        layout = {}
        for name in source.keys():
            part = source.get_slice(name)
            kind = part.get_dtype()
            if stored is not None and kind in _FLOATS:
                kind = _FLOAT_NAMES[stored]
            layout[name] = (kind, part.get_shape())

        def read(name: str) -> np.ndarray:
            tensor = source.get_tensor(name)
            kept = stored if stored is not None and tensor.is_floating_point() else tensor.dtype
            merged = updates[name].add_to(tensor) if name in updates else tensor
            # Types of 8 bits cannot be asked whether they are finite.
            wide = merged.float() if merged.element_size() == 1 else merged
            if merged.is_floating_point() and not torch.isfinite(wide).all():
                raise LoraparError(
                    "merged weights are not finite",
                    f"NaN or infinity in `{name}` of `{file}` or in its update",
                    "restore the base model's files, or train again",
                )
            return merged.to(kept).contiguous().reshape(-1).view(torch.uint8).numpy()

        stream_tensors(built / file.name, layout, read, {"format": "pt"})
    return sum(TYPE_BYTES[kind] * math.prod(shape) for kind, shape in layout.values())


def _copy_configuration(
    base: BaseModel, built: Path, stored: torch.dtype | None, trust: bool, size: int
) -> None:
    """Copies what belongs to the weights, of which there are `size` bytes now."""
    if path := _find_file(base, "generation_config.json"):
        shutil.copyfile(path, built / path.name)
    if path := _find_file(base, _INDEX):
        index = json.loads(path.read_text(encoding="utf-8"))
        index["metadata"] = (index.get("metadata") or {}) | {"total_size": size}
        (built / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    path = _find_file(base, _CONFIG)
    if path is None:
        raise AssertionError("a base model without a configuration was loaded")
    content = json.loads(path.read_text(encoding="utf-8"))
    if stored is not None:
        content.pop("torch_dtype", None)
        content["dtype"] = str(stored).removeprefix("torch.")
    (built / _CONFIG).write_text(json.dumps(content, indent=2), encoding="utf-8")
    if trust:
        for code in path.parent.glob("*.py"):
            shutil.copyfile(code, built / code.name)


def _merge_whole(
    base: BaseModel, adapter: Path, built: Path, stored: torch.dtype | None, trust: bool
) -> None:
    """Merges in memory, in float32.

    Raises:
        LoraparError: The base model's files hold quantised weights.
    """
    config = _find_file(base, _CONFIG)
    if config and json.loads(config.read_text(encoding="utf-8")).get("quantization_config"):
        raise LoraparError(
            f"the adapter cannot be merged into the quantised weights of `{base.id}`",
            "its `config.json` has a `quantization_config`",
            "name the model as it was before that with `--model`, or export the adapter alone, "
            "without `--merge`",
        )
    trained = load_adapter(load_base(base, "float32", trust), adapter, trainable=False)
    merged = transformers_model(trained.merge_and_unload())
    torch.nn.Module.to(merged, dtype=stored or _stored_dtype(base, trust))
    merged.save_pretrained(built)
    for path in built.glob("*.safetensors"):
        # The library's writer lets nobody else read its file, whatever the umask says.
        shutil.copymode(built / _CONFIG, path)


def _stored_dtype(base: BaseModel, trust: bool) -> torch.dtype:
    model = AutoModelForCausalLM.from_pretrained(base.path, dtype="auto", trust_remote_code=trust)
    return next(model.parameters()).dtype
