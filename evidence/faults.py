"""Faults of the published script, switched on for one cell of a study; never part of the package.

Each is restated here from what the script does, on top of this repository's trainers:

1. `frozen-decay`: gradients of frozen elements are zeroed in hooks, and the optimizer owns whole
   matrices, with weight decay.
2. `by-position`: the mask is a list of flags in the order of `named_parameters()`; here it is read
   by a model that also has matrices at `o_proj`, which shifts everything behind the first of them.
3. `attended-padding`: padding is attended to. Padding is on the left here: on the right no token that
   carries loss can see it, and nothing changes.

The other two, an init that changes the base model and stages that train on all records, are options.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DataCollatorForSeq2Seq, PreTrainedTokenizerBase

from lorapar_cli.names import Artifact
from lorapar_cli.store.mask_file import read_mask
from lorapar_cli.store.tensor_files import write_tensors
from lorapar_cli.training import run as training_run
from lorapar_cli.training import sft
from lorapar_cli.training.masking import active_elements, masked_adapter, masked_trainer
from lorapar_cli.training.masking.dense_masking import mask_in_backward

_MOVED = "frozen-moved.jsonl"
_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class HookedMatrices:
    """Whole matrices for the optimizer, with gradients of frozen elements zeroed in hooks.

    Args:
        parameters: Name -> LoRA matrix.
        active: Name -> bool tensor of the matrix's shape.
    """

    def __init__(
        self, parameters: Mapping[str, torch.nn.Parameter], active: Mapping[str, torch.Tensor]
    ) -> None:
        self.values = list(parameters.values())
        for name, parameter in parameters.items():
            parameter.requires_grad_(True)
            mask_in_backward(parameter, active[name])

    def gather(self) -> None:
        """Does nothing: the gradients are those of the matrices."""

    def scatter(self) -> None:
        """Drops the gradients, as after every step."""
        for value in self.values:
            value.grad = None


@contextmanager
def frozen_decay(folder: Path) -> Iterator[None]:
    """Trains as the script does, and lets frozen elements move.

    Args:
        folder: Gets a line for each training: the share of frozen elements that moved, and by how
            much, relative to their size.
    """

    def verify(
        start: masked_adapter.MaskedAdapter, after: dict[str, torch.Tensor]
    ) -> tuple[int, int]:
        active, frozen = active_elements.count_moved(start.weights, after, start.active)
        before = torch.cat([start.weights[n][~start.active[n]].flatten() for n in after])
        now = torch.cat([after[n][~start.active[n]].flatten() for n in after])
        line = {
            "share": frozen / max(before.numel(), 1),
            "relative": float((now - before).norm() / before.norm()),
        }
        with open(folder / _MOVED, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return active, 0

    with (
        replaced(masked_trainer, "ActiveElements", HookedMatrices),
        replaced(training_run, "verify_trained", verify),
    ):
        yield


def read_moved(folder: Path) -> dict[str, float]:
    """Returns the means over all trainings in a folder of what `frozen_decay` has written."""
    text = (folder / _MOVED).read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return {f"frozen_{key}": sum(line[key] for line in lines) / len(lines) for key in lines[0]}


@contextmanager
def attended_padding() -> Iterator[None]:
    """Pads on the left in SFT and attends to the padding."""

    def collator(tokenizer: PreTrainedTokenizerBase, packing: bool = False) -> Any:
        if packing:
            raise AssertionError("a packed batch has no padding")
        whole = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=sft.IGNORED_LABEL)

        def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
            batch = whole(rows)
            for number, row in enumerate(rows):
                shift = batch["input_ids"].shape[1] - len(row["input_ids"])
                for key in ("input_ids", "labels"):
                    batch[key][number] = batch[key][number].roll(shift)
            batch["attention_mask"] = torch.ones_like(batch["input_ids"])
            return batch

        return collate

    with replaced(sft, "collator", collator):
        yield


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Gives a module's attribute another value for a while."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def misread(source: Path, target: Path, missing: str, size: int) -> Path:
    """Writes a mask as a model with one more matrix in every layer reads it by position.

    Args:
        missing: Module whose matrices the mask does not know.
        size: Number of elements of its two matrices in one layer.

    Returns:
        The file, for the adapter without these matrices. Flags that would fall on them are lost, as
        are those at the end.
    """
    flags, metadata = read_mask(source)
    order = sorted(flags, key=_place)
    listed = np.concatenate([flags[name].ravel() for name in order])
    read: dict[str, np.ndarray] = {}
    place, before = 0, _place(order[0])
    for name in order:
        own = _place(name)
        if (before[0], before[1]) < (own[0], _MODULES.index(missing)) < (own[0], own[1]):
            place += size
        part = listed[place : place + flags[name].size]
        read[name] = np.pad(part, (0, flags[name].size - part.size)).reshape(flags[name].shape)
        place, before = place + flags[name].size, own
    target.mkdir(parents=True, exist_ok=True)
    write_tensors(target / Artifact.MASK, read, metadata)
    return target / Artifact.MASK


def _place(name: str) -> tuple[int, int, str]:
    """Returns where `named_parameters()` of a Llama lists a matrix."""
    found = re.search(r"layers\.(\d+)\.\w+\.(\w+)\.(lora_[AB])", name)
    if found is None:
        raise ValueError(f"`{name}` is no LoRA matrix of a Llama")
    return int(found[1]), _MODULES.index(found[2]), found[3]
