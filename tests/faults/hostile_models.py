"""Model folders that lie, lack or execute: a message with file and cause, never random weights."""

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.faults.corruption import DEEP
from tests.faults.harness import Case, Lost, digests, make_logs, run
from tests.faults.pipeline import pipeline

KIND = "hostile model folders"
NAME = "hostile-model"
CANARY = "canary.txt"
WEIGHTS = "model.safetensors"
Edit = Callable[[Path], None]

CODE = f"""
from pathlib import Path
Path({{folder!r}}, {CANARY!r}).write_text("executed")
raise RuntimeError("executed")
"""


class Touch:
    """Unpickled, it leaves a file: what a pickle from a stranger may do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.path}'",)


def config(**changes: Any) -> Edit:
    """Returns what changes keys of `config.json`; `...` removes one."""
    return partial(json_file, "config.json", changes)


def json_file(name: str, changes: dict[str, Any], folder: Path) -> None:
    path = folder / name
    value = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    value = {k: v for k, v in (value | changes).items() if v is not ...}
    path.write_text(json.dumps(value), encoding="utf-8")


def content(name: str, text: bytes) -> Edit:
    """Returns what gives a file other bytes."""

    def edit(folder: Path) -> None:
        (folder / name).write_bytes(text)

    return edit


def instead(name: str, what: str) -> Edit:
    """Returns what puts a `fifo`, `folder`, `device` or nothing (`gone`) in a file's place."""

    def edit(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        if what == "fifo":
            os.mkfifo(folder / name)
        elif what == "folder":
            (folder / name).mkdir()
        elif what == "device":
            (folder / name).symlink_to("/dev/zero")

    return edit


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Edit:
    """Returns what changes the tensors of the weights in place."""

    def edit(folder: Path) -> None:
        state = load_file(folder / WEIGHTS)
        change(state)
        save_file(state, folder / WEIGHTS, {"format": "pt"})

    return edit


def shards(index: Callable[[dict[str, str]], Any], keep: tuple[str, ...] = ("a", "b")) -> Edit:
    """Returns what splits the weights in two and changes the map of their index."""

    def edit(folder: Path) -> None:
        state = load_file(folder / WEIGHTS)
        names = sorted(state)
        parts = {"a": names[::2], "b": names[1::2]}
        for part in keep:
            save_file({n: state[n] for n in parts[part]}, folder / f"model-{part}.safetensors")
        (folder / WEIGHTS).rename(folder.parent / "outside.safetensors")
        where = {n: f"model-{part}.safetensors" for part, own in parts.items() for n in own}
        made = index(where)
        value = {"metadata": {"total_size": 1}, "weight_map": where} if made is None else made
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(value), encoding="utf-8")

    return edit


def as_pickle(value: Callable[[Path], Any]) -> Edit:
    """Returns what replaces the weights by `pytorch_model.bin`."""

    def edit(folder: Path) -> None:
        made = value(folder)
        (folder / WEIGHTS).unlink()
        if isinstance(made, bytes):
            (folder / "pytorch_model.bin").write_bytes(made)
        else:
            torch.save(made, folder / "pytorch_model.bin")

    return edit


def remote_code(folder: Path) -> None:
    """Puts code next to the model that its configurations ask to be run."""
    text = CODE.format(folder=str(folder.parent))
    for name in ("modeling_own", "configuration_own", "tokenization_own"):
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    auto = {
        "AutoConfig": "configuration_own.OwnConfig",
        "AutoModelForCausalLM": "modeling_own.OwnModel",
        "AutoTokenizer": ["tokenization_own.OwnTokenizer", None],
    }
    json_file("config.json", {"auto_map": auto}, folder)
    json_file("tokenizer_config.json", {"auto_map": auto}, folder)


def remote_model(folder: Path) -> None:
    remote_code(folder)
    json_file("config.json", {"model_type": "own", "architectures": ["OwnModel"]}, folder)


def remote_tokenizer(folder: Path) -> None:
    remote_code(folder)
    json_file("config.json", {"auto_map": ...}, folder)
    json_file("tokenizer_config.json", {"tokenizer_class": "OwnTokenizer"}, folder)
    (folder / "tokenizer.json").unlink()


def _half(folder: Path) -> bytes:
    return (folder / WEIGHTS).read_bytes()[: (folder / WEIGHTS).stat().st_size // 2]


def _lying_header(folder: Path) -> None:
    raw = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes((2**40).to_bytes(8, "little") + raw[8:])


def _outside(where: dict[str, str]) -> None:
    where.update(dict.fromkeys(where, "../outside.safetensors"))


def _absolute(where: dict[str, str]) -> None:
    where.update(dict.fromkeys(where, "/etc/passwd"))


FIRST = "model.layers.0.self_attn.q_proj.weight"
REFUSED: dict[str, Edit] = {
    "more layers than weights": config(num_hidden_layers=4),
    "fewer layers than weights": config(num_hidden_layers=1),
    "no layers": config(num_hidden_layers=0),
    "ten million layers": config(num_hidden_layers=10**7),
    "a larger vocabulary": config(vocab_size=300),
    "a smaller vocabulary": config(vocab_size=200),
    "a huge vocabulary": config(vocab_size=10**10),
    "another hidden size": config(hidden_size=48),
    "a hidden size that overflows": config(hidden_size=2**62),
    "hidden size zero": config(hidden_size=0),
    "a negative hidden size": config(hidden_size=-32),
    "a float as hidden size": config(hidden_size=1e308),
    "text as a size": config(intermediate_size="many"),
    "null as a size": config(num_attention_heads=None),
    "heads that do not divide": config(num_attention_heads=5),
    "no heads": config(num_attention_heads=0),
    "other key-value heads": config(num_key_value_heads=1),
    "an unknown activation": config(hidden_act="none"),
    "an unknown type": config(model_type="none"),
    "no type": config(model_type=..., architectures=...),
    "an encoder": config(model_type="bert", architectures=["BertModel"]),
    "config.json null": content("config.json", b"null"),
    "config.json a list": content("config.json", b"[]"),
    "config.json empty": content("config.json", b""),
    "config.json deep": content("config.json", DEEP),
    "config.json not UTF-8": content("config.json", b'{"model_type": "\xff"}'),
    "config.json gone": instead("config.json", "gone"),
    "config.json a fifo": instead("config.json", "fifo"),
    "config.json a folder": instead("config.json", "folder"),
    "config.json a device": instead("config.json", "device"),
    "weights cut": lambda folder: (folder / WEIGHTS).write_bytes(_half(folder)),
    "weights empty": content(WEIGHTS, b""),
    "weights zero": content(WEIGHTS, bytes(4096)),
    "weights gone": instead(WEIGHTS, "gone"),
    "weights a fifo": instead(WEIGHTS, "fifo"),
    "weights a folder": instead(WEIGHTS, "folder"),
    "weights a device": instead(WEIGHTS, "device"),
    "weights with a lying header": _lying_header,
    "a tensor missing": tensors(lambda state: state.pop(FIRST)),
    "a tensor too many": tensors(lambda state: state.update(more=torch.zeros(3))),
    "a tensor renamed": tensors(lambda state: state.update(other=state.pop(FIRST))),
    "a tensor of another shape": tensors(lambda state: state.update({FIRST: torch.ones(4, 4)})),
    "a tensor of whole numbers": tensors(
        lambda state: state.update({FIRST: state[FIRST].to(torch.int64)})
    ),
    "no tensors": tensors(lambda state: state.clear()),
    "a shard missing": shards(lambda where: None, keep=("a",)),
    "an index that leads outside": shards(_outside),
    "an index with an absolute path": shards(_absolute),
    "an index that is null": shards(lambda where: "null"),
    "an index that is a list": shards(lambda where: [1]),
    "an index without a map": shards(lambda where: {"metadata": {}}),
    "an index that names a folder": shards(lambda where: where.update({FIRST: "."})),
    "only a pickle that executes": as_pickle(
        lambda folder: pickle.dumps(Touch(folder.parent / CANARY))
    ),
    "only a saved object that executes": as_pickle(lambda folder: Touch(folder.parent / CANARY)),
    "a model of code": remote_model,
    "a tokenizer of code": remote_tokenizer,
    "no tokenizer": lambda folder: [
        (folder / name).unlink() for name in ("tokenizer.json", "tokenizer_config.json")
    ],
    "tokenizer.json broken": content("tokenizer.json", b"{"),
    "tokenizer.json null": content("tokenizer.json", b"null"),
    "tokenizer.json deep": content("tokenizer.json", DEEP),
    "tokenizer.json a fifo": instead("tokenizer.json", "fifo"),
    "tokenizer.json a folder": instead("tokenizer.json", "folder"),
    "tokenizer.json of another vocabulary": content(
        "tokenizer.json",
        json.dumps(
            {"model": {"type": "WordLevel", "vocab": {"<eos>": 0, "x": 10**6}, "unk_token": "x"}}
        ).encode(),
    ),
    "tokenizer_config.json broken": content("tokenizer_config.json", b"{"),
    "tokenizer_config.json a list": content("tokenizer_config.json", b"[]"),
    "tokenizer_config.json deep": content("tokenizer_config.json", DEEP),
    "tokenizer_config.json a fifo": instead("tokenizer_config.json", "fifo"),
    "no end of sequence": partial(json_file, "tokenizer_config.json", {"eos_token": ...}),
    "an end that is no token": partial(json_file, "tokenizer_config.json", {"eos_token": 7}),
}
# Either refused, or without effect on what is computed.
EITHER: dict[str, Edit] = {
    "only a pickle of tensors": as_pickle(lambda folder: load_file(folder / WEIGHTS)),
    "an index that lacks a tensor": shards(lambda where: where.pop(FIRST) and None),
    "an unknown quantisation": config(quantization_config={"quant_method": "none"}),
    "code that nothing needs": remote_code,
    "an unknown dtype": config(dtype="float99"),
    "no positions": config(max_position_embeddings=0),
    "negative positions": config(max_position_embeddings=-5),
    "huge positions": config(max_position_embeddings=10**15),
    "a huge end of sequence": config(eos_token_id=10**9),
    "a negative padding": config(pad_token_id=-5),
    "unknown keys": config(unknown={"deep": [1] * 1000}),
    "NaN as a range": config(initializer_range=float("nan")),
    "a byte order mark": lambda folder: (folder / "config.json").write_bytes(
        b"\xef\xbb\xbf" + (folder / "config.json").read_bytes()
    ),
    "generation_config.json broken": content("generation_config.json", b"{"),
    "generation_config.json a list": content("generation_config.json", b"[]"),
    "generation_config.json deep": content("generation_config.json", DEEP),
    "generation_config.json a fifo": instead("generation_config.json", "fifo"),
    "generation_config.json hot": content("generation_config.json", b'{"temperature": "hot"}'),
    "generation_config.json huge": content(
        "generation_config.json", b'{"max_length": 1e99, "num_beams": 100000, "eos_token_id": [-1]}'
    ),
}


def cases(_: int) -> Iterator[Case]:
    for name in (*REFUSED, *EITHER):
        yield Case(KIND, f"score, {name}", partial(_hostile, name, "score"))
        yield Case(KIND, f"eval, {name}", partial(_hostile, name, "eval"))
    for name in list(REFUSED)[::6]:
        yield Case(KIND, f"classify --model, {name}", partial(_hostile, name, "classify"))
        yield Case(KIND, f"teacher hf:, {name}", partial(_hostile, name, "teacher"))
        yield Case(KIND, f"export, {name}", partial(_hostile, name, "export"))


def _command(what: str) -> list[str]:
    data = [str(pipeline().data), "--limit", "4", "--run-dir", "run"]
    return {
        "score": [*pipeline().command("score"), "--model", NAME],
        "eval": [*pipeline().command("eval"), "--adapter", "base", "--model", NAME],
        "classify": ["classify", *data, "--teachers", "rules-shape", "--model", NAME],
        "teacher": ["classify", *data, "--teachers", f"hf:{NAME}"],
        "export": ["export", "--merge", "--out", "out", "--model", NAME, "--run-dir", "run"],
    }[what]


def _hostile(name: str, what: str, folder: Path) -> None:
    logs = make_logs(folder)
    run_dir = pipeline().copy(folder, "train-rl")
    shutil.copytree(pipeline().model, folder / NAME)
    (REFUSED | EITHER)[name](folder / NAME)
    clean = pipeline().clean["score"]["importance.safetensors"]
    done = run(
        [*_command(what), "--seed", "0"] if what == "score" else _command(what), logs, cwd=folder
    )
    done.require_sane()
    if (folder / CANARY).exists():
        raise Lost("code of the model was executed")
    # Where only the configuration is looked at, weights and tokenizer may be anything.
    if (name in REFUSED and what not in ("classify", "export")) or done.code != 0:
        done.require_refused(NAME)
    elif what == "score" and digests(run_dir / "score")["importance.safetensors"] != clean:
        raise Lost("scored on other weights than those of the folder")
