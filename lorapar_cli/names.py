"""The vocabulary that files on disk and options share; standard library only."""

from enum import IntFlag, StrEnum
from typing import Literal

SCHEMA_VERSION = 1
EMBEDDED = "embedded"


class System(StrEnum):
    """A record's label: fast one-step answers or multi-step reasoning."""

    SYSTEM1 = "system1"
    SYSTEM2 = "system2"


class Stage(StrEnum):
    """The stages in pipeline order, named after their subcommands and folders."""

    CLASSIFY = "classify"
    SCORE = "score"
    PARTITION = "partition"
    TRAIN_SFT = "train-sft"
    TRAIN_RL = "train-rl"
    EVAL = "eval"


class Flag(IntFlag):
    """The bits of one element in `mask.safetensors`; a set bit always means selected or active."""

    TOP1 = 1
    TOP2 = 2
    SFT = 4
    RL = 8


class Region(StrEnum):
    """Where an element lies; the value's position is `flags & 3`."""

    UNSELECTED = "unselected"
    S1_ONLY = "s1_only"
    S2_ONLY = "s2_only"
    SHARED = "shared"


Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantize = Literal["4bit", "8bit"]
DataFormat = Literal[
    "auto",
    "preference",
    "messages",
    "sharegpt",
    "mmlu",
    "boolq",
    "gsm8k",
    "squad",
    "dolly",
    "alpaca",
    "completion",
    "humaneval",
    "mbpp",
    "math",
    "query",
    "prompt",
    "bbh",
]
Formula = Literal["taylor2", "taylor1", "fisher", "magnitude", "random"]
"""How importance is computed; `elements.importance.FORMULAS` holds what each stands for."""
Rule = Literal["importance", "movement", "snr", "migu", "gallop", "random"]
"""By what elements are ranked: the paper's importance by a formula, or one of `elements.rules`."""
Init = Literal[
    "orthogonal",
    "pissa",
    "pissa_niter_N",
    "olora",
    "corda",
    "lora_ga",
    "loftq",
    "gaussian",
    "default",
    "false",
    "eva",
    "mica",
]
"""Initial values of A and B, in PEFT's words; N stands for a number of iterations."""
Attention = Literal["eager", "sdpa", "flash_attention_2"]
"""Implementations of attention, in transformers' words."""
DeviceMap = Literal["auto"]
"""How layers are distributed over the GPUs of one process."""
TARGET_MODULES = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "down_proj")


class Artifact(StrEnum):
    """Names of files and folders inside a stage folder, for whoever writes or reads them."""

    MANIFEST = "manifest.json"
    LABELS = "labels.jsonl"
    HELD_OUT = "heldout.jsonl"
    DROPPED = "dropped.jsonl"
    DISAGREEMENTS = "disagreements.jsonl"
    VOTES = "votes.jsonl"
    IMPORTANCE = "importance.safetensors"
    REPORT = "report.html"
    MASK = "mask.safetensors"
    PLOTS = "plots"
    ADAPTER = "adapter"
    RAW_ADAPTER = "adapter-raw"
    METRICS = "metrics.jsonl"
    COMPLETIONS = "completions.jsonl"
    REPLAY = "replay.jsonl"
    LEARNING_RATES = "learning-rates.jsonl"
    PASS_RATES = "pass-rates.jsonl"
    REFILL = "refill.jsonl"
    CHECKPOINTS = "checkpoints"
    RESULTS = "results.json"
    SAMPLES = "samples.jsonl"


ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"


def split_file(system: System | str) -> str:
    """Returns the name of a system's split inside `classify`'s folder."""
    return f"{system}.jsonl"
