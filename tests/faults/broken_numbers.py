"""NaN and infinity in weights and artifacts; flags, labels and agreements out of range."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from lorapar_cli.names import Flag
from lorapar_cli.store.tensor_files import read_tensors, write_tensors
from tests.faults.harness import Case, Lost, make_logs, run
from tests.faults.pipeline import FOLDERS, pipeline

WEIGHTS = "broken numbers in weights"
ARTIFACTS = "broken numbers in artifacts"
SPLITS = "broken numbers in splits"

BROKEN = {"NaN": math.nan, "infinity": math.inf, "minus infinity": -math.inf}
TENSORS = (
    *("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"),
    *("model.layers.1.mlp.down_proj.weight", "model.norm.weight", "lm_head.weight"),
)
Change = Callable[[dict[str, np.ndarray]], None]


def cases(_: int) -> Iterator[Case]:
    for name, value in BROKEN.items():
        for tensor in TENSORS:
            for whole in (False, True):
                how = "all of" if whole else "one element of"
                stages = ("score", "eval") if name == "NaN" or tensor == TENSORS[1] else ("score",)
                for stage in stages:
                    check = partial(_broken_base, stage, tensor, value, whole)
                    yield Case(WEIGHTS, f"{stage}, {name} in {how} {tensor}", check)
        for stage in ("train-sft", "train-rl", "teacher", "export"):
            check = partial(_broken_base, stage, TENSORS[1], value, False)
            yield Case(WEIGHTS, f"{stage}, {name} in the base", check)
        for stage in ("train-sft", "train-rl", "eval", "export"):
            check = partial(_broken_adapter, stage, value)
            yield Case(WEIGHTS, f"{stage}, {name} in the adapter", check)
    for name in IMPORTANCES:
        yield Case(ARTIFACTS, f"importance: {name}", partial(_broken_importance, name))
    for name in MASKS:
        for stage in ("train-sft", "train-rl"):
            yield Case(ARTIFACTS, f"mask, {stage}: {name}", partial(_broken_mask, name, stage))
    for name in RECORDS:
        for stage in ("score", "train-sft", "eval"):
            yield Case(SPLITS, f"{stage}: {name}", partial(_broken_record, name, stage))


def _set(path: Path, tensor: str, value: float, whole: bool) -> None:
    state = load_file(path)
    flat = state[tensor].view(-1)
    if whole:
        flat.fill_(value)
    else:
        flat[len(flat) // 2] = value
    save_file(state, path, {"format": "pt"})


def _command(stage: str) -> list[str]:
    quick = ["--limit", "4", "--run-dir", "run"]
    return {
        "teacher": ["classify", str(pipeline().data), "--teachers", "hf:model", *quick],
        "export": ["export", "--merge", "--out", "out", "--run-dir", "run", "--model", "model"],
        "eval": [*pipeline().command("eval"), "--adapter", "base", "--model", "model"],
    }.get(stage) or [*pipeline().command(stage), "--model", "model"]


def _broken_base(stage: str, tensor: str, value: float, whole: bool, folder: Path) -> None:
    logs = make_logs(folder)
    before = stage if stage in FOLDERS else "eval"
    pipeline().before(folder, before)
    shutil.copytree(pipeline().model, folder / "model")
    _set(folder / "model" / "model.safetensors", tensor, value, whole)
    done = run(_command(stage), logs, cwd=folder).require_refused("model")
    # The stages that train know the base by its digest, and may refuse it for that.
    if stage in ("score", "eval", "teacher"):
        done.require_refused("nan|infinit|finite", tensor)


def _broken_adapter(stage: str, value: float, folder: Path) -> None:
    """A folder that the user names, of which no manifest says what it should hold."""
    logs = make_logs(folder)
    run_dir = pipeline().before(folder, stage if stage in FOLDERS else "eval")
    source = run_dir / ("score" if stage == "train-sft" else "train-sft") / "adapter"
    target = source if stage == "export" else folder / "own-adapter"
    if target != source:
        shutil.copytree(source, target)
    name = sorted(load_file(target / "adapter_model.safetensors"))[3]
    _set(target / "adapter_model.safetensors", name, value, whole=False)
    given = {
        "eval": [*pipeline().command("eval"), "--adapter", "x=own-adapter"],
        "export": ["export", "--what", "sft", "--out", "out", "--run-dir", "run"],
    }.get(stage) or [*pipeline().command(stage), "--adapter", "own-adapter"]
    done = run(given, logs, cwd=folder).require_refused("adapter")
    if stage != "export":
        done.require_refused("nan|infinit|finite", "own-adapter")


def _first(tensors: dict[str, np.ndarray]) -> np.ndarray:
    return tensors[sorted(tensors)[0]].reshape(-1)


def _fill(value: float, start: str = "") -> Change:
    def change(tensors: dict[str, np.ndarray]) -> None:
        for name, tensor in tensors.items():
            if name.startswith(start):
                tensor[:] = value

    return change


def _one(value: float) -> Change:
    def change(tensors: dict[str, np.ndarray]) -> None:
        _first(tensors)[5] = value

    return change


def _scale(factor: float) -> Change:
    def change(tensors: dict[str, np.ndarray]) -> None:
        for tensor in tensors.values():
            np.multiply(tensor, np.float32(factor), out=tensor)

    return change


# Name -> change and whether it must be refused; a file of the user's, without a manifest.
IMPORTANCES: dict[str, tuple[Change, bool]] = {
    "one NaN": (_one(math.nan), True),
    "one infinity": (_one(math.inf), True),
    "all NaN": (_fill(math.nan), True),
    "all zero": (_fill(0.0), True),
    "System 1 zero": (_fill(0.0, "system1/"), True),
    "System 2 zero": (_fill(0.0, "system2/"), True),
    "one negative": (_one(-1.0), True),
    "all negative": (_fill(-1.0), True),
    "negative zero": (_one(-0.0), False),
    "all equal": (_fill(1.0), False),
    "denormals": (_fill(1e-45), False),
    "scaled to denormals": (_scale(1e-42), False),
    "sums that overflow": (_fill(3e38), False),
}


def _broken_importance(name: str, folder: Path) -> None:
    change, refused = IMPORTANCES[name]
    logs = make_logs(folder)
    run_dir = pipeline().before(folder, "partition")
    tensors, header = read_tensors(run_dir / "score" / "importance.safetensors")
    tensors = {key: tensor.copy() for key, tensor in tensors.items()}
    with np.errstate(all="ignore"):
        change(tensors)
    write_tensors(folder / "own.safetensors", tensors, header)
    given = ["--importance", "own.safetensors"]
    for more in ([], ["--budget", "50"], ["--scope", "module"], ["--sweep", "0.3,0.9"]):
        command = pipeline().command("partition")
        if "--budget" in more:
            command = ["partition", "--run-dir", "run"]
        done = run([*command, *given, *more], logs, cwd=folder).require_sane()
        if refused:
            done.require_refused("own.safetensors|importance")
        elif done.code == 0 and "--sweep" not in more:
            _require_active(run_dir / "partition" / "mask.safetensors")
    for more in ([], ["--json"]):
        run(["inspect", "own.safetensors", *more], logs, cwd=folder).require_sane()


def _require_active(path: Path) -> None:
    flags, _ = read_tensors(path)
    active = sum(int((tensor & (Flag.SFT | Flag.RL) != 0).sum()) for tensor in flags.values())
    if active == 0:
        raise Lost("a mask in which nothing is active")


def _clear(bits: int) -> Change:
    def change(tensors: dict[str, np.ndarray]) -> None:
        for tensor in tensors.values():
            np.bitwise_and(tensor, np.uint8(255 - bits), out=tensor)

    return change


def _or(bits: int) -> Change:
    def change(tensors: dict[str, np.ndarray]) -> None:
        _first(tensors)[5] |= np.uint8(bits)

    return change


MASKS: dict[str, tuple[Change, bool]] = {
    "flag 16": (_or(16), True),
    "flag 128": (_or(128), True),
    "all bits": (_fill(255), True),
    "nothing active": (_clear(Flag.SFT | Flag.RL), True),
    "nothing at all": (_fill(0), True),
    # A mask that somebody made by hand need not know of top sets.
    "active and in no top set": (_fill(Flag.SFT | Flag.RL), False),
    "all active": (_fill(15), False),
}


def _broken_mask(name: str, stage: str, folder: Path) -> None:
    change, refused = MASKS[name]
    logs = make_logs(folder)
    run_dir = pipeline().before(folder, stage)
    tensors, header = read_tensors(run_dir / "partition" / "mask.safetensors")
    tensors = {key: tensor.copy() for key, tensor in tensors.items()}
    change(tensors)
    write_tensors(folder / "own.safetensors", tensors, header)
    command = [*pipeline().command(stage), "--mask", "own.safetensors"]
    done = run(command, logs, cwd=folder).require_sane()
    if refused:
        done.require_refused("own.safetensors")
    for more in ([], ["--json"]):
        run(["inspect", "own.safetensors", *more], logs, cwd=folder).require_sane()


# Field -> what stands there instead; as JSON text, since some of it no JSON writer makes.
RECORDS = {
    "agreement NaN": ("agreement", "NaN"),
    "agreement infinite": ("agreement", "Infinity"),
    "agreement two": ("agreement", "2"),
    "agreement negative": ("agreement", "-0.5"),
    "agreement text": ("agreement", '"high"'),
    "agreement true": ("agreement", "true"),
    "agreement huge": ("agreement", "1e999"),
    "label unknown": ("label", '"system3"'),
    "label a number": ("label", "1"),
    "label true": ("label", "true"),
    "label a list": ("label", '["system1"]'),
    "votes unknown": ("votes", '{"a": "system9"}'),
    "votes a list": ("votes", "[1]"),
    "votes NaN": ("votes", '{"a": NaN}'),
    "id NaN": ("id", "NaN"),
    "id huge": ("id", "9" * 5000),
    "reference a number": ("reference_answer", "5"),
    "reference NaN": ("reference_answer", "NaN"),
    "prompt a number": ("prompt", "5"),
    "an extra NaN": ("extra", "NaN"),
}
HARMLESS = ("an extra NaN", "id huge", "reference a number")


def _broken_record(name: str, stage: str, folder: Path) -> None:
    field, text = RECORDS[name]
    logs = make_logs(folder)
    run_dir = pipeline().before(folder, stage)
    (folder / "own").mkdir()
    file = {"score": "system2.jsonl", "train-sft": "system1.jsonl", "eval": "heldout.jsonl"}[stage]
    for each in (run_dir / "classify").glob("*.jsonl"):
        shutil.copy(each, folder / "own")
    lines = (folder / "own" / file).read_text(encoding="utf-8").splitlines()
    pairs = json.loads(lines[1])
    own = ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in pairs.items() if k != field)
    lines[1] = f'{{{own}, "{field}": {text}}}'
    (folder / "own" / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    where = ["--data", f"own/{file}"] if stage == "eval" else ["--splits", "own"]
    done = run([*pipeline().command(stage), *where], logs, cwd=folder).require_sane()
    if done.code != 0:
        done.require_refused(f"{file}:2")
    # What eval reads may be any format, in which other fields than its own are of no account.
    elif name not in HARMLESS and stage != "eval":
        raise Lost(f"{stage} takes a record with {field}: {text[:20]}")
