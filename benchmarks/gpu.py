"""`score`, masked SFT and masked GRPO at the size of LLaMA2-7B on one GPU, against plain ways.

Weights are random, in bfloat16; speed and memory do not depend on them. The ways that are compared
run in turns on the same model within one process. Opacus is compared where it is installed, and so
are FlashAttention, packing and Liger. `python -m benchmarks gpu`; `python -m benchmarks.gpu grpo`
measures a part; `python -m benchmarks.gpu tiny` tries the code on a CPU.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.gpu_options import measure_compile, measure_options
from benchmarks.gpu_score import measure_score
from benchmarks.gpu_size import ADAPTER, GIB, TINY, Size, build_base, describe_base, measured
from benchmarks.gpu_training import measure_grpo, measure_sft
from lorapar_cli.models.base_model import BaseModel
from lorapar_cli.models.memory.footprint import plan
from lorapar_cli.models.memory.outline import Drawn

PARTS = ("score", "sft", "grpo", "estimate", "compile", "options")


def estimate(size: Size) -> dict[str, float]:
    """Returns the peak memory in GiB that `lorapar doctor` expects of what is measured."""
    rows, tokens = size.sft
    # A batch of `score` has at most 4,096 tokens on a GPU.
    with tempfile.TemporaryDirectory() as folder:
        describe_base(size).save_pretrained(folder)
        base = BaseModel("random", folder, None)
        planner = plan(Drawn(base, torch.bfloat16, ADAPTER["r"], tuple(ADAPTER["target_modules"])))
        found = {"score": planner.score(16, 256).total}
        for name, checkpointing in (("sft plain", False), ("sft plain checkpointed", True)):
            found[name] = planner.train(
                rows,
                tokens,
                active=planner.sizes.elements,
                checkpointing=checkpointing,
                autocast=True,
            ).total
    return {name: size / GIB for name, size in found.items()}


def main(size: Size | None = None, parts: Sequence[str] = PARTS) -> None:
    """Prints one line of JSON for each measurement."""
    if size is None and not torch.cuda.is_available():
        print("gpu: not measured, there is no GPU")
        return
    size = size or Size()

    def say(name: str, figures: Any) -> None:
        print(json.dumps({"what": name} | figures), flush=True)

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    found: dict[str, Any] = {}
    with measured(found):
        base = build_base(size)
    say("base", found | {"device": device, "elements": sum(p.numel() for p in base.parameters())})
    if "score" in parts:
        say("score", measure_score(base, size))
    if "sft" in parts:
        measure_sft(base, size, say)
    if "grpo" in parts:
        measure_grpo(base, size, say)
    if "estimate" in parts:
        say("estimated_gib", estimate(size))
    if "compile" in parts:
        measure_compile(base, size, say)
    # Last: Liger's kernels stay in the model.
    if "options" in parts:
        measure_options(base, size, say)


if __name__ == "__main__":
    chosen = sys.argv[1:]
    asked = [part for part in chosen if part != "tiny"]
    main(TINY if "tiny" in chosen else None, asked or PARTS)
