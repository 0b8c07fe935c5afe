"""Settings of comparisons that take a second a training."""

import json
import sys

from lorapar_cli.comparison.options import CompareOptions

CONFIG = """
train-sft: {learning_rate: 0.01, per_device_batch_size: 4, gradient_accumulation: 1, max_steps: 3}
"""


def options(tmp_path, **changes):
    stated = {
        "data": str(tmp_path / "measured.jsonl"),
        "config": tmp_path / "config.yaml",
        "neutral": tmp_path / "neutral.txt",
        "max_new_tokens": 8,
        "cells": ("paper", "random"),
        "seeds": 2,
        "max_rates": 1,
    }
    return CompareOptions(**(stated | changes))


def without_times(comparison):
    text = json.loads(json.dumps(comparison, default=str))
    for row in text["cells"]:
        row.pop("seconds", None)
    return text


def command(setup, tmp_path):
    arguments = ["--run-dir", str(setup.root), "--seeds", "2", "--max-rates", "1"]
    arguments += ["--cells", "paper,random", "--max-new-tokens", "8"]
    for name in ("data", "config", "neutral"):
        arguments += [f"--{name}", str(getattr(options(tmp_path), name))]
    return [sys.executable, "-m", "lorapar_cli", "compare", *arguments]
