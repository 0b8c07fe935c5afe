"""Plots of a training run's metrics.jsonl."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    """
    from matplotlib.figure import Figure

    panels = logged_panels(metrics)
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(10, 2.6 * rows), dpi=120, layout="constrained")
    figure.suptitle(title)
    for place, (key, name) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, _COLUMNS, place)
        _draw_panel(axes, metrics, key)
        axes.set_title(name, fontsize=10, loc="left")
    figure.savefig(path)
    return [*panels.values()]


def logged_panels(metrics: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Returns key -> title of the metrics that the run has logged, in the order of the panels."""
    return {key: title for key, title in _PANELS if any(key in line for line in metrics)}


def panel_figure(metrics: Sequence[dict[str, Any]], key: str) -> "Figure":
    """Returns a figure of one metric alone, without a title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 2.6), layout="constrained")
    _draw_panel(figure.add_subplot(), metrics, key)
    return figure


def _draw_panel(axes: Any, metrics: Sequence[dict[str, Any]], key: str) -> None:
    steps, values = zip(*((m["step"], m[key]) for m in metrics if key in m), strict=True)
    noisy = key != "learning_rate"
    axes.plot(steps, values, color="#1f77b4", linewidth=0.8, alpha=0.45 if noisy else 1)
    if noisy:
        axes.plot(steps, smooth(values), color="#1f77b4", linewidth=1.8)
    axes.grid(alpha=0.3)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)


def smooth(values: Sequence[float]) -> list[float]:
    """Returns at each position the bias-corrected exponential mean of the values so far."""
    smoothed, mean, weight = [], 0.0, 0.0
    for value in values:
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        smoothed.append(mean / weight)
    return smoothed
