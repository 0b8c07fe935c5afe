"""Plots of a training run's metrics.jsonl."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorapar_cli.plots.matplotlib_extra import require_matplotlib

# Key and title of each panel, drawn if the run has logged the key.
_PANELS = (
    ("loss", "loss"),
    ("reward", "mean reward"),
    ("reward_std_group", "spread of rewards within groups"),
    ("frac_reward_zero_std", "share of groups without spread"),
    ("completions/mean_length", "completion length, tokens"),
    ("completions/clipped_ratio", "share of completions cut off"),
    ("kl", "KL from the starting adapter"),
    ("grad_norm", "gradient norm of active elements"),
    ("learning_rate", "learning rate"),
)
_SMOOTHING = 0.9
_COLUMNS = 2


def draw_curves(metrics: Sequence[dict[str, Any]], title: str, path: Path) -> list[str]:
    """Writes an image with one panel per metric that the run has logged.

    Thin lines show the values, thick ones their bias-corrected exponential mean.

    Args:
        metrics: Lines of metrics.jsonl, in order.
        path: Its suffix gives the format: PNG, SVG or PDF.

    Returns:
        The titles of the panels.

    Raises:
        LoraparError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    panels = [(k, t) for k, t in _PANELS if sum(k in line for line in metrics) > 0]
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(10, 2.6 * rows), dpi=120, layout="constrained")
    figure.suptitle(title)
    for place, (key, name) in enumerate(panels, 1):
        steps, values = zip(*((m["step"], m[key]) for m in metrics if key in m), strict=True)
        axes = figure.add_subplot(rows, _COLUMNS, place)
        noisy = key != "learning_rate"
        axes.plot(steps, values, color="#1f77b4", linewidth=0.8, alpha=0.45 if noisy else 1)
        if noisy:
            axes.plot(steps, smooth(values), color="#1f77b4", linewidth=1.8)
        axes.set_title(name, fontsize=10, loc="left")
        axes.grid(alpha=0.3)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
    figure.savefig(path)
    return [name for _, name in panels]


def smooth(values: Sequence[float]) -> list[float]:
    """Returns at each position the bias-corrected exponential mean of the values so far."""
    smoothed, mean, weight = [], 0.0, 0.0
    for value in values:
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        smoothed.append(mean / weight)
    return smoothed
