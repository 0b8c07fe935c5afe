"""What several tests of `score` need: runs of a small adapter, and what they left."""

import numpy as np

from lorapar_cli.elements.top_sets import Ranking, TopSetMask, importance_keys
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score import score
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import read_tensors

SMALL = {"r": 4, "lora_alpha": 8}


def run_score(root, model, splits, *, given=(), save_seconds=60, **changed):
    """Scores with an adapter of rank 4; `changed` are options."""
    named = str(model) if model else None
    options = ScoreOptions(**(SMALL | changed), model=named, splits=splits)
    return score(RunDir(root), options, given=given, save_seconds=save_seconds)


def importance_of(root) -> dict[str, np.ndarray]:
    return read_tensors(root / "score" / "importance.safetensors")[0]


def relative_norm(found, expected) -> float:
    difference = sum(((found[k].astype(float) - expected[k]) ** 2).sum() for k in expected)
    return float(np.sqrt(difference / sum((v.astype(float) ** 2).sum() for v in expected.values())))


def top_set(tensors, system) -> np.ndarray:
    names = sorted(name for name in tensors if name.startswith(system))

    def keys():
        return (importance_keys(tensors[name]) for name in names)

    picker = TopSetMask(Ranking(keys).by_share([0.9])[0])
    return np.concatenate([picker.pick(vector) for vector in keys()])
