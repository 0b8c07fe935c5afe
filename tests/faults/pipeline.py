"""A finished run of all six stages on a tiny random model, made once; cases work on copies."""

import functools
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from tests.faults.harness import Lost, digests, run

STAGES = ("classify", "score", "partition", "train-sft", "train-rl", "eval")
FOLDERS = {stage: stage for stage in STAGES} | {"eval": "eval/heldout"}
# What each stage reads of the stages before it, relative to the run directory.
READS = {
    "score": ["classify/system1.jsonl", "classify/system2.jsonl", "classify/manifest.json"],
    "partition": ["score/importance.safetensors", "score/manifest.json"],
    "train-sft": [
        "classify/system1.jsonl",
        "classify/heldout.jsonl",
        "partition/mask.safetensors",
        "partition/manifest.json",
        "score/adapter/adapter_model.safetensors",
        "score/adapter/adapter_config.json",
        "score/manifest.json",
    ],
    "train-rl": [
        "classify/system2.jsonl",
        "classify/heldout.jsonl",
        "partition/mask.safetensors",
        "train-sft/adapter/adapter_model.safetensors",
        "train-sft/adapter/adapter_config.json",
        "train-sft/manifest.json",
    ],
    "eval": [
        "classify/heldout.jsonl",
        "train-sft/adapter/adapter_model.safetensors",
        "train-sft/adapter/adapter_config.json",
        "train-rl/adapter/adapter_model.safetensors",
        "train-rl/manifest.json",
    ],
}

# Options that give a stage another result.
CHANGED = {
    "classify": ["--seed", "1"],
    "score": ["--seed", "1"],
    "partition": ["--theta", "0.5"],
    "train-sft": ["--seed", "1", "--overwrite"],
    "train-rl": ["--seed", "1", "--overwrite"],
    "eval": ["--limit", "5"],
}


def command(stage: str, data: Path, model: Path, run_dir: str = "run") -> list[str]:
    """Returns the arguments of a stage, small enough to take a second or two."""
    own = {
        "classify": [
            *(str(data), "--teachers", "rules-operations,rules-cues,rules-shape"),
            *("--model", str(model), "--holdout", "0.2"),
        ],
        "score": ["--samples", "6", "--r", "4", "--max-length", "200"],
        "partition": ["--theta", "0.6"],
        "train-sft": [
            *("--max-steps", "4", "--per-device-batch-size", "2", "--gradient-accumulation", "1"),
            *("--save-steps", "2", "--learning-rate", "0.01"),
        ],
        "train-rl": [
            *("--max-steps", "2", "--per-device-batch-size", "4", "--gradient-accumulation", "1"),
            *("--num-generations", "4", "--max-completion-length", "8", "--save-steps", "1"),
            *("--learning-rate", "0.01", "--weight-decay", "0.1"),
            *("--rewards", "tests.faults.rewards.length"),
        ],
        "eval": ["--max-new-tokens", "4", "--limit", "6"],
    }[stage]
    return [stage, *own, "--run-dir", run_dir]


def write_data(path: Path) -> None:
    """Writes forty questions, half of them of one step."""
    lines = []
    for i in range(20):
        lines.append({"question": f"What is {i} + {i + 1}?", "answer": f"#### {2 * i + 1}"})
        chain = f"First {i}+{i + 2}={2 * i + 2}. Then {2 * i + 2}-1={2 * i + 1}.\n"
        question = f"Tom has {i} apples, buys {i + 2} and then loses 1. How many has he in the end?"
        lines.append({"question": question, "answer": f"{chain}#### {2 * i + 1}"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def build_model(folder: Path) -> None:
    """Saves a random Llama of two layers and its byte-level tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.conftest import build_tokenizer

    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class Pipeline:
    """The finished run.

    Attributes:
        root: Holds `data.jsonl`, `model/` and the run directory `run/`.
        clean: Stage -> path -> sha256 of its outputs without any fault.
        seconds: Stage -> time that it takes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data, self.model = root / "data.jsonl", root / "model"
        write_data(self.data)
        build_model(self.model)
        self.clean: dict[str, dict[str, str]] = {}
        self.seconds: dict[str, float] = {}
        logs = root / "logs"
        logs.mkdir()
        for stage in STAGES:
            done = run(self.command(stage), logs, cwd=root)
            if done.code != 0:
                raise AssertionError(f"{stage} fails without any fault: {done.err[-2000:]}")
            self.clean[stage] = digests(root / "run" / FOLDERS[stage])
            self.seconds[stage] = done.seconds

    def command(self, stage: str, run_dir: str = "run") -> list[str]:
        """Returns the arguments of a stage."""
        return command(stage, self.data, self.model, run_dir)

    def copy(self, target: Path, until: str, run_dir: str = "run") -> Path:
        """Copies the run into `target` with the stages up to and including `until`; returns it."""
        run_copy = target / run_dir
        run_copy.mkdir(parents=True)
        for stage in STAGES[: STAGES.index(until) + 1]:
            shutil.copytree(self.root / "run" / stage, run_copy / stage)
        return run_copy

    def before(self, target: Path, stage: str, run_dir: str = "run") -> Path:
        """Copies the run with the stages before `stage`; returns the run directory."""
        place = STAGES.index(stage)
        if place == 0:
            (target / run_dir).mkdir(parents=True)
            return target / run_dir
        return self.copy(target, STAGES[place - 1], run_dir)


def require_clean(run_dir: Path, stage: str) -> None:
    """Raises Lost unless a stage's outputs are those that it makes without any fault."""
    if not (run_dir / FOLDERS[stage] / "manifest.json").exists():
        raise Lost(f"{stage} has no result")
    made, clean = digests(run_dir / FOLDERS[stage]), pipeline().clean[stage]
    if made != clean:
        differing = [n for n in sorted(clean.keys() | made.keys()) if made.get(n) != clean.get(n)]
        how = "lacks" if clean.keys() - made.keys() else "differs in"
        raise Lost(f"{stage} has another result than without the fault: {how} {differing}")
    require_whole(run_dir / FOLDERS[stage])


def require_whole(folder: Path) -> None:
    """Raises Lost unless the files of a stage folder are those that its manifest describes."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for name, described in manifest["outputs"].items():
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if found != described["sha256"]:
            raise Lost(f"`{name}` is not what the manifest of {folder.name} says")


@functools.cache
def other_result(stage: str) -> Path:
    """Returns the folder of a stage that was run with other options, made on first use."""
    root = Path(tempfile.mkdtemp(prefix="other-", dir=pipeline().root))
    pipeline().before(root, stage)
    run([*pipeline().command(stage), *CHANGED[stage]], root, cwd=root).require_done()
    return root / "run" / FOLDERS[stage]


@functools.cache
def pipeline() -> Pipeline:
    """Returns the finished run of this process, made on first use."""
    return Pipeline(Path(tempfile.mkdtemp(prefix="lorapar-faults-")))
