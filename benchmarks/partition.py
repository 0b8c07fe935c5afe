"""`lorapar partition` as a whole command on LLaMA2-7B's layout, and against rows of a DataFrame."""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import run_python
from lorapar_cli.elements.regions import mark_active, mark_top
from lorapar_cli.elements.top_sets import Ranking, importance_keys
from lorapar_cli.names import Flag
from lorapar_cli.store.tensor_files import layout_fingerprint, write_tensors

HIDDEN, INTERMEDIATE, LAYERS = 4096, 11008, 32


def llama2_7b_shapes(r: int) -> dict[str, tuple[int, int]]:
    """Returns the LoRA matrices of LLaMA2-7B's six target modules."""
    shapes = {}
    for layer in range(LAYERS):
        for module, size_in, size_out in (
            ("self_attn.q_proj", HIDDEN, HIDDEN),
            ("self_attn.k_proj", HIDDEN, HIDDEN),
            ("self_attn.v_proj", HIDDEN, HIDDEN),
            ("mlp.gate_proj", HIDDEN, INTERMEDIATE),
            ("mlp.up_proj", HIDDEN, INTERMEDIATE),
            ("mlp.down_proj", INTERMEDIATE, HIDDEN),
        ):
            name = f"base_model.model.model.layers.{layer}.{module}"
            shapes[f"{name}.lora_A.weight"] = (r, size_in)
            shapes[f"{name}.lora_B.weight"] = (size_out, r)
    return shapes


def write_importance(path: Path, r: int) -> int:
    """Writes importance as skewed as real ones are; returns the number of elements a system."""
    shapes = llama2_7b_shapes(r)
    draw = np.random.default_rng(0)
    tensors = {}
    for name, shape in shapes.items():
        common = draw.standard_normal(shape, np.float32)
        for system in ("system1", "system2"):
            own = draw.standard_normal(shape, np.float32)
            tensors[f"{system}/{name}"] = np.exp(2 * common + own) * np.float32(1e-9)
    write_tensors(path, tensors, {"fingerprint": layout_fingerprint(shapes)})
    return sum(a * b for a, b in shapes.values())


def whole_command(r: int, runs: int = 3) -> str:
    """Returns lines on the whole command, warm: medians of some runs after a first one.

    A budget and the theta that it comes to are run in turns, so that other load falls on both.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "importance.safetensors"
        # Written by a child: a large parent would count into its children's peak memory.
        written = run_python("-m", "benchmarks.partition", str(path), str(r))
        elements = int(written.output)
        ways = {"theta": (), "budget": ("--budget", str(elements // 5))}
        measured = {way: [] for way in ways}
        for run in range(runs + 1):
            for way, options in ways.items():
                out = Path(folder) / f"{way}-{run}"
                arguments = ("partition", "--importance", str(path), "--out", str(out), *options)
                measured[way].append(run_python("-m", "lorapar_cli", *arguments))
        lines = []
        for way, options in ways.items():
            seconds = statistics.median(one.seconds for one in measured[way][1:])
            peak = max(one.megabytes for one in measured[way])
            name = " ".join(("partition", *options))
            lines.append(f"{name}, {elements / 1e6:.1f}M elements: {seconds:.2f} s, {peak:.0f} MB")
        pairs = zip(measured["budget"][1:], measured["theta"][1:], strict=True)
        ratios = [budget.seconds / theta.seconds for budget, theta in pairs]
        lines[-1] += f", {statistics.median(ratios):.2f} times a given theta's time"
        return "\n".join(lines)


def cut_in_rows(first: np.ndarray, second: np.ndarray, theta: float) -> list[int]:
    """The authors' way: one row an element, sorted, gone through with `iterrows`."""
    import pandas as pd

    flags = [0] * len(first)
    for bit, values in ((1, first), (2, second)):
        rows = pd.DataFrame({"element": range(len(values)), "importance": values.astype(float)})
        rows = rows.sort_values("importance", ascending=False, kind="stable")
        total, reached = rows["importance"].sum(), 0.0
        for _, row in rows.iterrows():
            if reached >= theta * total:
                break
            reached += row["importance"]
            flags[int(row["element"])] |= bit
    return flags


def cut_by_histograms(first: np.ndarray, second: np.ndarray, theta: float) -> np.ndarray:
    """The same two sets as flags, as `partition` finds them."""
    keys = [lambda values=values: [importance_keys(values)] for values in (first, second)]
    flags = [np.zeros(len(first), np.uint8)]
    for own, top in zip(keys, (Flag.TOP1, Flag.TOP2), strict=True):
        mark_top(flags, own, Ranking(own).by_share([theta])[0], top)
    for own, top, active in zip(keys, (Flag.TOP1, Flag.TOP2), (Flag.SFT, Flag.RL), strict=True):
        mark_active(flags, own, 1.0, top, active)
    return flags[0]


def against_rows(elements: int = 200_000, pairs: int = 3) -> str:
    """Returns a line on the cut in memory against rows of a DataFrame, in paired runs."""
    draw = np.random.default_rng(0)
    first, second = np.exp(2 * draw.standard_normal((2, elements))).astype(np.float32)
    ratios = []
    for _ in range(pairs):
        started = time.perf_counter()
        slow = cut_in_rows(first, second, 0.9)
        between = time.perf_counter()
        fast = cut_by_histograms(first, second, 0.9)
        ratios.append((between - started) / (time.perf_counter() - between))
        if (fast & 3).tolist() != slow:
            raise SystemExit("the two ways disagree")
    return (
        f"partition against rows of a DataFrame, {elements / 1e6:.1f}M elements: "
        f"{statistics.median(ratios):.0f} times faster, the same flags"
    )


def main() -> None:
    """Prints the figures."""
    print(against_rows())
    print(whole_command(r=8))
    print(whole_command(r=64))


if __name__ == "__main__":
    if sys.argv[1:]:
        print(write_importance(Path(sys.argv[1]), int(sys.argv[2])))
    else:
        main()
