"""What it costs to compare inputs with their recorded sha256, at LLaMA2-7B's size.

Commands are run in pairs: as they are, and with digests taken from the manifests unread.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import run_python
from benchmarks.partition import HIDDEN, INTERMEDIATE, LAYERS, write_importance
from lorapar_cli.names import Flag, Stage
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.reuse import describe_inputs
from lorapar_cli.store.tensor_files import layout_fingerprint, write_tensors

PAIRS = 5
RECORDS = 4000


def trained_shapes(r: int = 8) -> dict[str, tuple[int, int]]:
    """Returns the LoRA matrices of LLaMA2-7B's q, k, v, up and down projections."""
    sizes = {f"self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkv"}
    sizes |= {"mlp.up_proj": (HIDDEN, INTERMEDIATE), "mlp.down_proj": (INTERMEDIATE, HIDDEN)}
    shapes = {}
    for layer in range(LAYERS):
        for module, (size_in, size_out) in sizes.items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            shapes[f"{name}.lora_A.weight"] = (r, size_in)
            shapes[f"{name}.lora_B.weight"] = (size_out, r)
    return shapes


def write_run(root: Path) -> None:
    """Writes a run directory whose next stage is `train-sft`, with random values."""
    draw, shapes = np.random.default_rng(0), trained_shapes()
    fingerprint = layout_fingerprint(shapes)
    classify, score, partition = (root / stage for stage in list(Stage)[:3])
    classify.mkdir(parents=True)
    for system in ("system1", "system2"):
        record = {"prompt": "p" * 200, "completion": "c" * 400, "label": system}
        lines = [json.dumps({"id": str(number)} | record) + "\n" for number in range(RECORDS)]
        (classify / f"{system}.jsonl").write_text("".join(lines))
    write_manifest(classify, Manifest(Stage.CLASSIFY, {}))
    (score / "adapter").mkdir(parents=True)
    values = {name: draw.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    write_tensors(score / "adapter" / "adapter_model.safetensors", values, {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"],
    }
    (score / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    importance = {
        f"{system}/{n}": abs(v) for system in ("system1", "system2") for n, v in values.items()
    }
    write_tensors(score / "importance.safetensors", importance, {"fingerprint": fingerprint})
    splits = {system: classify / f"{system}.jsonl" for system in ("system1", "system2")}
    known = {"id": "embedded", "revision": None}
    manifest = Manifest(Stage.SCORE, {}, inputs=describe_inputs(splits), base_model=known)
    write_manifest(score, manifest)
    partition.mkdir()
    flags = {n: np.full(shape, Flag.TOP1 | Flag.SFT, np.uint8) for n, shape in shapes.items()}
    write_tensors(partition / "mask.safetensors", flags, {"fingerprint": fingerprint})
    inputs = describe_inputs({"importance": score / "importance.safetensors"})
    write_manifest(partition, Manifest(Stage.PARTITION, {}, inputs=inputs))


def trust_manifests() -> None:
    """Replaces hashing by what the manifest next to a file says of it."""
    from lorapar_cli.store import manifest, reuse, verify

    def recorded(path: Path) -> str:
        for folder in path.absolute().parents:
            if (folder / "manifest.json").is_file():
                outputs = json.loads((folder / "manifest.json").read_text())["outputs"]
                found = outputs.get(path.absolute().relative_to(folder).as_posix())
                if found is not None:
                    return found["sha256"]
        return "0" * 64

    for module in (manifest, reuse, verify):
        module.sha256_file = recorded


def start_training(run_dir: Path) -> None:
    """Does what `train-sft` does until it loads the base model: libraries, inputs, adapter, mask."""
    from lorapar_cli.store.run_dir import RunDir
    from lorapar_cli.training import sft  # noqa: F401
    from lorapar_cli.training.inputs import find_training_inputs, read_training_records
    from lorapar_cli.training.masking.masked_adapter import read_masked_adapter
    from lorapar_cli.training.options import SftOptions

    source = find_training_inputs(RunDir(run_dir), SftOptions(), Stage.TRAIN_SFT, "init")
    read_training_records(source.files, 0.0, 0, [])
    read_masked_adapter(source.adapter, source.mask, Flag.SFT)


def child(what: str, checked: str, *arguments: str) -> None:
    """Runs one of the two, with or without hashing, and prints its seconds."""
    if checked == "trusting":
        trust_manifests()
    started = time.perf_counter()
    if what == "train":
        start_training(Path(arguments[0]))
    else:
        from lorapar_cli.cli.main import main as lorapar

        try:
            lorapar(["partition", *arguments])
        except SystemExit as ended:
            if ended.code:
                raise
    print(f"seconds {time.perf_counter() - started}")


def compare(name: str, what: str, folder: Path, *given: str) -> str:
    """Returns a line on the time with hashing against the time without, in paired runs.

    The fastest of each are compared: whatever else the machine does only adds to them.

    Args:
        folder: Where results may be written to.
        given: Arguments of the child.
    """
    seconds: dict[str, list[float]] = {"checking": [], "trusting": []}
    for number in range(PAIRS + 1):
        # In turns, so that neither is always the second to read the files.
        for checked in sorted(seconds, reverse=number % 2 == 1):
            # Each writes a folder of its own.
            out = ["--out", f"{folder}/{number}-{checked}"] if what == "partition" else []
            done = run_python("-m", "benchmarks.verify", what, checked, *given, *out)
            if number:  # The first pair fills the page cache.
                seconds[checked].append(float(done.output.rpartition("seconds ")[2]))
    with_it, without = (min(each) for each in seconds.values())
    middle = statistics.median(a / b for a, b in zip(*seconds.values(), strict=True)) - 1
    return (
        f"{name}: {with_it:.2f} s, without verification {without:.2f} s ({with_it / without - 1:+.1%}, "
        f"median of {PAIRS} pairs {middle:+.1%})"
    )


def main() -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        write_run(run)
        print(compare("start of train-sft, LLaMA2-7B at r = 8", "train", run, str(run)))
    with tempfile.TemporaryDirectory() as place:
        score = Path(place) / "score"
        score.mkdir()
        path = score / "importance.safetensors"
        elements = write_importance(path, 64)
        write_manifest(score, Manifest(Stage.SCORE, {}))
        name = f"partition, {elements / 1e6:.1f}M elements"
        print(compare(name, "partition", Path(place), "--importance", str(path)))


if __name__ == "__main__":
    if sys.argv[1:]:
        child(*sys.argv[1:])
    else:
        main()
