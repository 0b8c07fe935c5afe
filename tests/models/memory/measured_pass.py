"""Prints the bytes by which a training pass raises the memory of this process; run by tests."""

import ctypes
import gc
import sys
import threading
import time
from pathlib import Path

import torch

from lorapar_cli.models.adapter import create_adapter
from lorapar_cli.models.base_model import find_base_model, load_base, transformers_model


def resident() -> int:
    """Returns the process's resident bytes, without what the allocator has kept for later."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def run(model, rows: int, tokens: int) -> None:
    """Takes one pass as TRL's trainers do, up to the hidden states."""
    ids = torch.zeros(rows, tokens, dtype=torch.long)
    transformers_model(model).base_model(input_ids=ids, use_cache=False)[0].sum().backward()


def main(folder: str, rows: int, tokens: int, checkpointing: bool) -> None:
    """Prints the largest growth over several looks a millisecond."""
    base = load_base(find_base_model(folder), "float32")
    model = create_adapter(
        base, r=8, lora_alpha=16, target_modules=["q_proj", "down_proj"], init="orthogonal", seed=0
    ).train()
    if checkpointing:
        transformers_model(model).gradient_checkpointing_enable()
        transformers_model(model).enable_input_require_grads()
    run(model, 1, 8)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before, peak, done = resident(), 0, threading.Event()

    def look() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, resident())
            time.sleep(0.0005)

    looking = threading.Thread(target=look)
    looking.start()
    run(model, rows, tokens)
    done.set()
    looking.join()
    print(peak - before)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), "checkpointing" in sys.argv)
