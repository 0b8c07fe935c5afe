"""The share of elements that hold a share theta of importance: of gradients, or of the formula?"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evidence import runs
from evidence.curve_published import THETAS
from evidence.studies import Study, Unit
from lorapar_cli.elements.importance import taylor2
from lorapar_cli.names import ADAPTER_WEIGHTS, Artifact, Stage, System
from lorapar_cli.store.tensor_files import Tensors, read_tensors

# Small, so that the second-order term is a correction, as it is with measured gradients.
_SCALE = 1e-3


def shares(importance: np.ndarray) -> list[float]:
    """Returns the per cent of the elements in the top set at each theta."""
    ordered = np.sort(importance.astype(np.float64))[::-1]
    reached = np.cumsum(ordered)
    counts = np.searchsorted(reached, np.array(THETAS) * reached[-1]) + 1
    return [100 * float(count) / ordered.size for count in counts]


def random_importance(
    values: Tensors, scales: Mapping[str, float], samples: int, seed: int
) -> np.ndarray:
    """Returns the paper's importance of gradients that are normal noise, independent by sample.

    Args:
        values: Name -> element values.
        scales: Name -> standard deviation of a sample's gradient.
    """
    drawn = torch.Generator().manual_seed(seed)
    found = []
    for name in sorted(values):
        phi = torch.from_numpy(values[name]).double().flatten()
        total, squares = torch.zeros_like(phi), torch.zeros_like(phi)
        for _ in range(samples):
            gradient = torch.randn(phi.shape, generator=drawn) * scales[name]
            total += gradient
            squares += gradient * gradient
        found.append(taylor2(phi, total / samples, squares / samples).numpy())
    return np.concatenate(found)


def curve_rows(scored: Path, samples: int, seed: int = 0) -> list[dict[str, Any]]:
    """Returns the shares of a scored adapter's importance, and of random gradients on it.

    Args:
        scored: Folder of `score`.
        samples: That it was scored on, per system.
    """
    importance, _ = read_tensors(scored / Artifact.IMPORTANCE)
    values, _ = read_tensors(scored / Artifact.ADAPTER / ADAPTER_WEIGHTS)
    rows = []
    for system in System:
        own = {n: importance[f"{system.value}/{n}"] for n in values}
        listed = np.concatenate([own[name].ravel() for name in sorted(values)])
        rows.append({"gradients": system.value, "shares": shares(listed)})
    one = dict.fromkeys(values, _SCALE)
    # Mean importance over mean value: what gradient would explain a matrix's importance.
    of_matrix = {
        n: float(importance[f"system1/{n}"].mean() / np.abs(values[n]).mean()) for n in values
    }
    largest = max(of_matrix.values())
    own_scale = {name: _SCALE * scale / largest for name, scale in of_matrix.items()}
    for what, scales in (("random, one size", one), ("random, sizes by matrix", own_scale)):
        drawn = random_importance(values, scales, samples, seed)
        rows.append({"gradients": what, "shares": shares(drawn)})
    return rows


def curve_study(work: Path, per_system: int, samples: int, say: Callable[[str], None]) -> Study:
    """Returns the study on the embedded model; one unit."""

    def measure(_: Path) -> Mapping[str, Any]:
        run = runs.embedded_run(
            work / "curve" / "run", runs.TRUTH, per_system=per_system, samples=samples
        )
        say("  random gradients")
        return {"thetas": THETAS, "rows": curve_rows(run.folder(Stage.SCORE), samples)}

    settings = {"per_system": per_system, "samples": samples}
    return Study(
        "curve",
        "Share of elements by theta: of the gradients, or of the formula?",
        "python -m evidence curve",
        [0],
        [Unit("embedded", settings, measure)],
        {"records": per_system, "samples": samples},
    )
