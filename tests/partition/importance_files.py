"""Importance files that tests of `partition` cut."""

import numpy as np

from lorapar_cli.names import Flag, System
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import layout_fingerprint, read_tensors, write_tensors

SHAPES = {
    "base_model.model.layers.0.q_proj.lora_A.weight": (4, 30),
    "base_model.model.layers.0.q_proj.lora_B.weight": (50, 4),
    "base_model.model.layers.1.up_proj.lora_A.weight": (4, 20),
}


def write_importance(path, tensors, fingerprint=None) -> None:
    """Writes System 1's and System 2's tensors, each name -> values."""
    named = {
        f"{system}/{name}": np.asarray(values, np.float32)
        for system, own in zip(System, tensors, strict=True)
        for name, values in own.items()
    }
    shapes = {name: np.shape(values) for name, values in tensors[0].items()}
    write_tensors(path, named, {"fingerprint": fingerprint or layout_fingerprint(shapes)})


def draw_importance(shapes: dict[str, tuple[int, int]] = SHAPES) -> list[dict[str, np.ndarray]]:
    """Returns both systems' importance, by default of three matrices, with ties and zeros."""
    draw = np.random.default_rng(3)
    return [
        {
            name: np.round(draw.lognormal(0, 2, shape), 1).astype(np.float32)
            for name, shape in shapes.items()
        }
        for _ in System
    ]


def flags_under(path, tmp_path, **options) -> dict[str, np.ndarray]:
    """Returns the mask of a partition with these options."""
    folder = tmp_path / "-".join(map(str, options.values())) or "default"
    outcome = partition(RunDir(tmp_path), PartitionOptions(**options, importance=path, out=folder))
    return read_tensors(outcome.folder / "mask.safetensors")[0]


def sizes(mask) -> tuple[int, int]:
    """Returns the sizes of both top sets."""
    flags = np.concatenate([part.ravel() for part in mask.values()])
    return int((flags & Flag.TOP1 > 0).sum()), int((flags & Flag.TOP2 > 0).sum())
