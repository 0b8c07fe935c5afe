"""One small artifact of every kind that commands write, as they are written."""

import json
from pathlib import Path

import numpy as np

from lorapar_cli.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Stage
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
    "models": [{"model": "base", "correct": 1, "n": 2}],
}
COMPARED = {
    "schema": 1,
    "sentence": "paper is worth it",
    "verdicts": [],
    "differences": [],
    "cells": [{"cell": "paper"}, {"cell": "random"}],
    "measured": {"system1": 3},
    "left_out": [],
}
SWEPT = {
    "schema": 1,
    "title": "by alpha",
    "layout": {},
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
    write_manifest(root / "eval/test", Manifest(Stage.EVAL, {}, counts={"items": 2}))
    for name, content in (("compare", COMPARED), ("sweep", SWEPT)):
        (root / name).mkdir()
        (root / name / "results.json").write_text(json.dumps(content))
    return root
