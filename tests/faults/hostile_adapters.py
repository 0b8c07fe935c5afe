"""Adapter folders of other kinds, or that lie: refused by name, nothing of them executed."""

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.faults.corruption import DEEP
from tests.faults.harness import Case, Lost, make_logs, run
from tests.faults.hostile_models import Edit, Touch, content, instead, json_file
from tests.faults.pipeline import pipeline

KIND = "hostile adapters"
NAME = "hostile-adapter"
CANARY = "canary.txt"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def config(**changes: Any) -> Edit:
    """Returns what changes keys of the configuration; `...` removes one."""
    return partial(json_file, CONFIG, changes)


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Edit:
    """Returns what changes the tensors in place."""

    def edit(folder: Path) -> None:
        state = load_file(folder / WEIGHTS)
        change(state)
        save_file(state, folder / WEIGHTS, {"format": "pt"})

    return edit


def as_pickle(value: Callable[[Path], Any]) -> Edit:
    """Returns what replaces the weights by `adapter_model.bin`."""

    def edit(folder: Path) -> None:
        made = value(folder)
        (folder / WEIGHTS).unlink()
        if isinstance(made, bytes):
            (folder / "adapter_model.bin").write_bytes(made)
        else:
            torch.save(made, folder / "adapter_model.bin")

    return edit


def parent_library(folder: Path) -> None:
    """Names a module next to the command that PEFT would import."""
    text = f"from pathlib import Path\nPath({str(folder.parent)!r}, {CANARY!r}).touch()\n"
    (folder.parent / "evil.py").write_text(text, encoding="utf-8")
    mapping = {"base_model_class": "Own", "parent_library": "evil"}
    json_file(CONFIG, {"auto_mapping": mapping, "task_type": None}, folder)


def _lying_header(folder: Path) -> None:
    raw = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes((2**50).to_bytes(8, "little") + raw[8:])


def _other_offsets(folder: Path) -> None:
    raw = (folder / WEIGHTS).read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    names = sorted(name for name in header if name != "__metadata__")
    header[names[0]]["data_offsets"] = header[names[1]]["data_offsets"]
    text = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + raw[end:])


def _first(state: dict[str, torch.Tensor]) -> str:
    return sorted(state)[0]


REFUSED: dict[str, Edit] = {
    "IA3": config(peft_type="IA3", feedforward_modules=[]),
    "prompt tuning": config(peft_type="PROMPT_TUNING", num_virtual_tokens=4),
    "prefix tuning": config(peft_type="PREFIX_TUNING", num_virtual_tokens=4),
    "LoHa": config(peft_type="LOHA"),
    "OFT": config(peft_type="OFT"),
    "a type that does not exist": config(peft_type="NONE"),
    "a type that is a number": config(peft_type=5),
    "no type": config(peft_type=...),
    "config null": content(CONFIG, b"null"),
    "config a list": content(CONFIG, b"[]"),
    "config empty": content(CONFIG, b""),
    "config deep": content(CONFIG, DEEP),
    "config not UTF-8": content(CONFIG, b'{"r": "\xff"}'),
    "config gone": instead(CONFIG, "gone"),
    "config a fifo": instead(CONFIG, "fifo"),
    "config a folder": instead(CONFIG, "folder"),
    "config a device": instead(CONFIG, "device"),
    "another rank": config(r=8),
    "rank zero": config(r=0),
    "a negative rank": config(r=-4),
    "a huge rank": config(r=10**9),
    "a rank that is text": config(r="four"),
    "alpha null": config(lora_alpha=None),
    "alpha text": config(lora_alpha="x"),
    "no targets": config(target_modules=[]),
    "targets null": config(target_modules=None),
    "targets that match nothing": config(target_modules=["nothing"]),
    "fewer targets": config(target_modules=["q_proj"]),
    "more targets": config(
        target_modules=[
            *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
        ]
    ),
    "targets by a slow pattern": config(target_modules="(.*)*(.*)*(.*)*(.*)*(.*)*x!"),
    "targets by a broken pattern": config(target_modules="(("),
    "DoRA": config(use_dora=True),
    "saved modules": config(modules_to_save=["lm_head"]),
    "a trained bias": config(bias="all"),
    "ranks by pattern": config(rank_pattern={"q_proj": 2}),
    "some layers": config(layers_to_transform=[0]),
    "trained tokens": config(trainable_token_indices=[1, 2]),
    "an own module": config(target_modules="all-linear", exclude_modules="q_proj"),
    "weights cut": lambda folder: (folder / WEIGHTS).write_bytes(
        (folder / WEIGHTS).read_bytes()[:-100]
    ),
    "weights empty": content(WEIGHTS, b""),
    "weights gone": instead(WEIGHTS, "gone"),
    "weights a fifo": instead(WEIGHTS, "fifo"),
    "weights a folder": instead(WEIGHTS, "folder"),
    "weights a device": instead(WEIGHTS, "device"),
    "a header that lies": _lying_header,
    "offsets that overlap": _other_offsets,
    "a tensor missing": tensors(lambda state: state.pop(_first(state))),
    "a tensor too many": tensors(lambda state: state.update(more=torch.zeros(3))),
    "a tensor renamed": tensors(lambda state: state.update(other=state.pop(_first(state)))),
    "a tensor of another shape": tensors(
        lambda state: state.update({_first(state): torch.ones(2, 2)})
    ),
    "a tensor of whole numbers": tensors(
        lambda state: state.update({_first(state): torch.ones(4, 32, dtype=torch.int64)})
    ),
    "no tensors": tensors(lambda state: state.clear()),
    "only a pickle of tensors": as_pickle(lambda folder: load_file(folder / WEIGHTS)),
    "only a pickle that executes": as_pickle(
        lambda folder: pickle.dumps(Touch(folder.parent / CANARY))
    ),
    "only a saved object that executes": as_pickle(lambda folder: Touch(folder.parent / CANARY)),
}
# Either refused, or without effect: what PEFT's own fields may hold.
EITHER: dict[str, Edit] = {
    "a module to import": parent_library,
    "another base": config(base_model_name_or_path="org/other"),
    "unknown keys": config(unknown={"a": [1] * 1000}),
    "an init that draws": config(init_lora_weights="gaussian"),
    "an init that changes the base": config(init_lora_weights="pissa"),
    "an unknown init": config(init_lora_weights="none"),
    "dropout two": config(lora_dropout=2.0),
    "half precision": tensors(
        lambda state: state.update({name: tensor.half() for name, tensor in state.items()})
    ),
}


def cases(_: int) -> Iterator[Case]:
    for name in (*REFUSED, *EITHER):
        yield Case(KIND, f"train-sft --adapter, {name}", partial(_hostile, name, "train-sft"))
        yield Case(KIND, f"eval --adapter, {name}", partial(_hostile, name, "eval"))
    for name in list(REFUSED)[::5]:
        yield Case(KIND, f"train-rl --adapter, {name}", partial(_hostile, name, "train-rl"))


def _hostile(name: str, stage: str, folder: Path) -> None:
    logs = make_logs(folder)
    run_dir = pipeline().before(folder, stage)
    source = "score" if stage == "train-sft" else "train-sft"
    shutil.copytree(run_dir / source / "adapter", folder / NAME)
    (REFUSED | EITHER)[name](folder / NAME)
    given = f"x={NAME}" if stage == "eval" else NAME
    done = run([*pipeline().command(stage), "--adapter", given], logs, cwd=folder).require_sane()
    if (folder / CANARY).exists():
        raise Lost("code was executed for the adapter")
    if name in REFUSED or done.code != 0:
        done.require_refused(NAME)
