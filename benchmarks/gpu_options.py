"""What options of `train-sft` cost and save at the size of LLaMA2-7B on one GPU."""

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_size import Size
from benchmarks.gpu_training import draw_rows, train_sft
from lorapar_cli.models.rendering.encoding import Encoded

Say = Callable[[str, Any], None]
FLASH = "flash_attention_2"


def measure_options(base: Any, size: Size, say: Say) -> None:
    """Says the figures of masked SFT with each option that can run here, in turns.

    Records have unequal lengths, as padding costs nothing where they are equal. Each round begins
    with the step that the options are compared with. Liger's kernels cannot be taken out of a
    model again and come last, once.
    """
    rows = draw_rows(size, shortest=size.sft[1] // 8)
    ways: dict[str, dict[str, Any]] = {
        "as it is": {},
        "--attention eager": {"attention": "eager"},
        "--gradient-checkpointing": {"gradient_checkpointing": True},
    }
    if torch.cuda.is_available() and importlib.util.find_spec("flash_attn"):
        ways["--attention flash_attention_2"] = {"attention": FLASH}
        ways["--attention flash_attention_2 --packing"] = {"attention": FLASH, "packing": True}
    for _ in range(size.rounds):
        for name, changes in ways.items():
            measure_option(base, size, say, name, rows, **changes)
    if torch.cuda.is_available() and importlib.util.find_spec("liger_kernel"):
        measure_option(base, size, say, "--liger", rows, use_liger_kernel=True)


def measure_compile(base: Any, size: Size, say: Say) -> None:
    """Says the figures of masked SFT on records of one length, without and with compilation."""
    rows = draw_rows(size)
    for name, compiled in (("none, one length", False), ("--compile, one length", True)):
        measure_option(base, size, say, name, rows, torch_compile=compiled)
    torch.compiler.reset()


def measure_option(
    base: Any,
    size: Size,
    say: Say,
    name: str,
    rows: list[Encoded],
    attention: str = "sdpa",
    **changes: Any,
) -> None:
    """Says the figures of one masked SFT.

    Args:
        changes: As `train_sft` takes them.
    """
    base.set_attn_implementation(attention)
    with tempfile.TemporaryDirectory() as folder:
        found = train_sft(base, size, Path(folder), True, rows, **changes)
    base.set_attn_implementation("sdpa")
    say(f"option {name}", found)
