"""Plots of a training run's metrics.jsonl."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorapar_cli.names import Region, System
from lorapar_cli.plots.partition_plots import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Key and title of each panel, drawn if the run has logged the key; a key that ends in `/` stands for
# all that begin with it, a line each.
_PANELS = (
    ("loss", "loss"),
    ("reward", "mean reward"),
    ("reward_std_group", "spread of rewards within groups"),
    ("frac_reward_zero_std", "share of groups without spread"),
    ("completions/mean_length", "completion length, tokens"),
    ("completions/clipped_ratio", "share of completions cut off"),
    ("kl", "KL from the starting adapter"),
    ("validation_loss/", "loss on the validation part"),
    ("validation_accuracy/", "accuracy on the validation part"),
    ("heldout_loss/", "loss on held-out records"),
    ("kl_from_base/", "KL from the base model"),
    ("neutral_loss", "loss on neutral text"),
    ("grad_norm", "gradient norm of active elements"),
    ("learning_rate", "learning rate"),
)
_MEASURED = {key for key, _ in _PANELS if key.endswith("/")} | {"neutral_loss"}
_COLOUR = "#1f77b4"
_SYSTEM_COLOURS: dict[str, str] = {
    System.SYSTEM1: COLOURS[Region.S1_ONLY],
    System.SYSTEM2: COLOURS[Region.S2_ONLY],
}
_OTHER_COLOURS = ("#2ca02c", "#9467bd", "#ff7f0e", "#7f7f7f")
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
    return {key: title for key, title in _PANELS if _lines_of(metrics, key)}


def _lines_of(metrics: Sequence[dict[str, Any]], key: str) -> list[str]:
    """Returns the keys that a panel draws, a line each."""
    logged = dict.fromkeys(name for line in metrics for name in line)
    if not key.endswith("/"):
        return [key] if key in logged else []
    return sorted(name for name in logged if name.startswith(key))


def panel_figure(metrics: Sequence[dict[str, Any]], key: str) -> "Figure":
    """Returns a figure of one metric alone, without a title, for a column of a page."""
    from matplotlib.figure import Figure

    # About as wide as it is shown, so that its words are as large as they are stated.
    figure = Figure(figsize=(3.4, 1.9), layout="constrained")
    _draw_panel(figure.add_subplot(), metrics, key)
    return figure


def _draw_panel(axes: Any, metrics: Sequence[dict[str, Any]], key: str) -> None:
    from matplotlib.ticker import MaxNLocator

    others = cycle(_OTHER_COLOURS)
    for name in _lines_of(metrics, key):
        steps, values = zip(*((m["step"], m[name]) for m in metrics if name in m), strict=True)
        if key in _MEASURED:
            # Measured at some steps, on the same records each time: there is nothing to smooth.
            label = name.removeprefix(key)
            colour = _SYSTEM_COLOURS.get(label) or (next(others) if label else _COLOUR)
            shown = {"color": colour, "label": label.replace("$", r"\$")}
            axes.plot(steps, values, linewidth=1.4, marker="o", ms=3, **shown)
            continue
        noisy = key != "learning_rate" and len(steps) > 1
        # A line through one point is no line.
        mark = "o" if len(steps) == 1 else ""
        thin = {"linewidth": 0.8, "alpha": 0.45 if noisy else 1, "marker": mark}
        axes.plot(steps, values, color=_COLOUR, **thin)
        if noisy:
            axes.plot(steps, smooth(values), color=_COLOUR, linewidth=1.8)
    if key.endswith("/"):
        axes.legend(fontsize=7, frameon=False)
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
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
