"""A model of LLaMA2-7B's shape on one GPU, how much work it is given, and what that takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lorapar_cli.models.base_model import avoid_cudnn_attention
from lorapar_cli.names import TARGET_MODULES

GIB = 2**30
ADAPTER = {"r": 8, "lora_alpha": 64, "target_modules": list(TARGET_MODULES)}


@dataclass(frozen=True)
class Size:
    """Shape of the model and amount of work.

    Attributes:
        samples: Scored, of about the lengths of GSM8K's records.
        loop: Of these, those that the batch-1 loop takes in one round.
        sft: Records and tokens of a batch.
        prompts: Of one GRPO step, eight completions each.
        completion: Tokens of a completion.
        steps: Of SFT; GRPO takes half of them.
    """

    shape: dict[str, int] = field(
        default_factory=lambda: {
            "vocab_size": 32_000,
            "hidden_size": 4096,
            "intermediate_size": 11_008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
        }
    )
    samples: int = 100
    loop: int = 40
    rounds: int = 3
    sft: tuple[int, int] = (8, 512)
    prompts: int = 2
    completion: int = 48
    steps: int = 8


TINY = Size(
    {
        "vocab_size": 700,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
    samples=6,
    loop=3,
    rounds=1,
    sft=(2, 32),
    prompts=1,
    completion=8,
    steps=6,
)


def describe_base(size: Size) -> LlamaConfig:
    """Returns the configuration of the base model."""
    return LlamaConfig(
        **size.shape, pad_token_id=0, dtype="bfloat16", architectures=["LlamaForCausalLM"]
    )


def build_base(size: Size) -> LlamaForCausalLM:
    """Returns the base model, made on the GPU in bfloat16."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    avoid_cudnn_attention(torch.device(device))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = LlamaForCausalLM(describe_base(size))
    finally:
        torch.set_default_dtype(before)
    return model.eval()


@contextmanager
def measured(found: dict[str, Any]) -> Iterator[None]:
    """Puts seconds and peak memory above what was held before into `found`."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    began = time.perf_counter()
    yield
    if cuda:
        torch.cuda.synchronize()
        found["peak_gib"] = torch.cuda.max_memory_allocated() / GIB
        found["above_gib"] = (torch.cuda.max_memory_allocated() - held) / GIB
    found["seconds"] = time.perf_counter() - began
