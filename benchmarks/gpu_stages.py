"""The stages of a sample configuration on random weights of LLaMA2-7B's shape: time and memory.

    python -m benchmarks.gpu_stages sample_configs/gsm8k-llama2-7b.yaml gsm8k/train.jsonl

Every stage but `classify` runs in a process of its own, with the file's settings and few steps. Random
weights never end a completion, so that all are as long as the settings allow; the reward counts
tokens, so that groups have a spread. The tokenizer is trained on the data. `tiny` as a third argument
takes a model of two small layers.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from benchmarks.gpu_size import GIB, TINY, Size, build_base

STAGES = ("classify", "score", "partition", "train-sft", "train-rl", "eval")
SHORT: dict[str, dict[str, Any]] = {
    "train-sft": {"epochs": None, "max_steps": 3},
    "train-rl": {"epochs": None, "max_steps": 2, "rewards": "benchmarks.gpu_stages.by_length"},
    "eval": {"limit": 16},
}
"""Settings in place of the file's; None leaves one out."""

# What a stage's process runs; the last line of its output is read by `run_stage`.
_MEASURED = """
import sys, json, torch
from lorapar_cli.cli.main import main
try:
    main()
finally:
    used = torch.cuda.is_available() and torch.cuda.is_initialized()
    peaks = [torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()] if used else None
    print(json.dumps({"peaks": peaks}))
"""


def by_length(completions: list[str], **_: Any) -> list[float]:
    """The reward: characters of a completion modulo 97, from 0 to 1."""
    return [len(text) % 97 / 97 for text in completions]


def save_model(folder: Path, data: Path, size: Size) -> None:
    """Writes random weights, and a byte-level tokenizer of as many tokens trained on the data."""
    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size.shape["vocab_size"],
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokens.train([str(data)], trainer)
    build_base(size).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokens, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)


def command_of(
    stage: str, section: dict[str, Any], model: Path, data: Path, run: Path
) -> list[str]:
    """Returns the words of a stage's command."""
    words = [stage, "--run-dir", str(run)]
    if stage == "classify":
        words += [str(data)]
    if stage in ("score", "eval"):
        words += ["--model", str(model)]
    settings = {**section, **SHORT.get(stage, {})}
    if "data" in settings:
        settings["data"] = None if stage == "classify" else data
    for key, value in settings.items():
        name = "--" + key.replace("_", "-")
        if value is True:
            words.append(name)
        elif value is not None:
            words += [name, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return words


def run_stage(words: list[str]) -> dict[str, Any]:
    """Runs a stage; returns its exit status, seconds and peak memory in GiB."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    found = {"status": done.returncode, "seconds": time.perf_counter() - began}
    peaks = json.loads(done.stdout.decode().splitlines()[-1])["peaks"]
    if peaks is not None:
        found |= {"allocated_gib": peaks[0] / GIB, "reserved_gib": peaks[1] / GIB}
    return found


def main(config: Path, data: Path, size: Size) -> None:
    """Prints one line of JSON for each stage; ends with the first that fails."""
    sections = yaml.safe_load(config.read_text())
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        save_model(model, data, size)
        torch.cuda.empty_cache()
        for stage in STAGES:
            words = command_of(stage, sections.get(stage) or {}, model, data, Path(folder) / "run")
            found = run_stage(words)
            print(json.dumps({"stage": stage} | found), flush=True)
            if found["status"]:
                sys.exit(f"`lorapar {' '.join(words)}` ended with {found['status']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), TINY if sys.argv[3:] == ["tiny"] else Size())
