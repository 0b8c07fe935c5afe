"""One small artifact of every kind that commands write, as they are written."""

import json
from pathlib import Path

import numpy as np

from lorapar_cli.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Stage
from lorapar_cli.store.checkpoints import mark_complete
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.reuse import describe_inputs
from lorapar_cli.store.tensor_files import write_tensors

NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
LINES = {
    "classify/labels.jsonl": [
        {"id": "a", "label": "system1", "votes": {"x": "system1", "y": None}, "agreement": 1.0},
        {"id": "b", "label": "system2", "votes": {"x": "system2"}, "agreement": 0.5},
    ],
    "classify/votes.jsonl": [{"teacher": "x", "vote": "system1", "final": True}],
    "train-sft/metrics.jsonl": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}],
    "train-sft/replay.jsonl": [{"id": "a", "completion": "text"}],
    "train-rl/pass-rates.jsonl": [{"id": "a", "rate": 0.5}],
    "train-rl/refill.jsonl": [],
    "train-rl/learning-rates.jsonl": [{"rate": 1e-4, "values": [1.0]}],
    "train-rl/completions.jsonl": [{"step": 1, "rewards": {"answer": 0.0}}],
    "eval/test/samples.jsonl": [{"model": "base", "correct": True}],
}
EVALUATED = {
    "schema": 1,
    "task": "data",
    "settings": {},
    "models": [
        {
            "model": "base",
            "correct": 1,
            "n": 2,
            "accuracy": 0.5,
            "interval": [0.0945, 0.9055],
            "by_system": {"system1": {"correct": 1, "n": 1}, "system2": {"correct": 0, "n": 1}},
        }
    ],
    "pairs": [
        {
            "model": "sft",
            "against": "base",
            "difference": 0.5,
            "interval": [-0.1, 0.9],
            "p_value": 0.25,
        }
    ],
}
COMPARED = {
    "schema": 1,
    "sentence": "paper is worth it",
    "verdicts": [],
    "differences": [],
    "base": {"loss": {"system1": 2.0}},
    "cells": [
        {"cell": "paper", "stage": "train-sft", "loss": {"system1": 1.5}, "active": 1200},
        {"cell": "random", "stage": "train-sft", "diverged": "loss is NaN"},
    ],
    "measured": {"system1": 3},
    "left_out": [],
}
SWEPT = {
    "schema": 1,
    "title": "by alpha",
    "layout": {"figures": {"first": "accuracy % after the first stage"}},
    "table": [
        {"labels": {"alpha": "0"}, "mean": {"first": 37.5}},
        {"labels": {"alpha": "1"}, "mean": {}},
    ],
    "model": "embedded",
    "cells": [{"labels": {}}, {"labels": {}, "failed": "no"}],
    "seeds": [0, 1],
    "left_out": [],
}


def write_adapter(folder: Path, method: str = "LORA") -> Path:
    """Writes a PEFT adapter without PEFT."""
    folder.mkdir(parents=True)
    tensors = {"prompt_embeddings": np.ones((4, 8), np.float16)}
    if method == "LORA":
        tensors = {
            NAME.format("A"): np.ones((2, 8), np.float32),
            NAME.format("B"): np.zeros((6, 2), np.float32),
        }
    write_tensors(folder / ADAPTER_WEIGHTS, tensors, {"format": "pt"})
    config = {"peft_type": method, "base_model_name_or_path": "someone/model", "r": 2, "bias": None}
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config))
    return folder


def write_model(folder: Path) -> Path:
    """Writes a model in two shards without transformers."""
    folder.mkdir(parents=True)
    places = {}
    for number in (0, 1):
        name, file = f"model.layers.{number}.mlp.weight", f"model-{number}.safetensors"
        write_tensors(folder / file, {name: np.ones((3, 4), np.float32)}, {"format": "pt"})
        places[name] = file
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "use_cache": False}))
    return folder


def write_unfinished(folder: Path) -> Path:
    """Writes a training that was stopped after its first checkpoint, and while writing the second."""
    for step in (2, 10):
        (folder / f"checkpoints/checkpoint-{step}").mkdir(parents=True)
    mark_complete(folder / "checkpoints/checkpoint-2", "0" * 64, {})
    begun = {"settings": {"learning_rate": 1e-4, "watch": None}, "inputs": {"mask": "0" * 64}}
    (folder / "unfinished.json").write_text(json.dumps(begun))
    (folder / "metrics.jsonl").write_text('{"step": 1}\n')
    return folder


def write_run(root: Path) -> Path:
    """Writes a run directory whose stages are finished, a comparison and a sweep."""
    for name, lines in LINES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (root / "eval/test/results.json").write_text(json.dumps(EVALUATED))
    write_adapter(root / "train-sft/adapter")
    data = root / "data.jsonl"
    data.write_text("{}\n")
    for stage in (Stage.CLASSIFY, Stage.TRAIN_SFT, Stage.TRAIN_RL):
        counts, metrics = {"records": 2, "by": {"a": 1}}, {"loss": 1.5}
        manifest = Manifest(
            stage,
            {"seed": 0},
            inputs=describe_inputs({"data": data}),
            counts=counts,
            metrics=metrics,
            notes=["read this"],
        )
        write_manifest(root / stage, manifest)
    measured = {"models": EVALUATED["models"], "pairs": EVALUATED["pairs"]}
    write_manifest(
        root / "eval/test", Manifest(Stage.EVAL, {}, counts={"items": 2}, metrics=measured)
    )
    write_model(root / "merged")
    write_unfinished(root / "begun")
    for name, content in (("compare", COMPARED), ("sweep", SWEPT)):
        (root / name).mkdir()
        (root / name / "results.json").write_text(json.dumps(content))
    return root
