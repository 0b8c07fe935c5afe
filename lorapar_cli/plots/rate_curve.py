"""Plot of a search for a learning rate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_rate_curve(
    points: Sequence[Mapping[str, Any]], search: Mapping[str, Any] | None, title: str, path: Path
) -> None:
    """Writes an image of the held-out measure by learning rate, as `rate_figure` draws it.

    Args:
        points: Lines of learning-rates.jsonl.
        search: The manifest's `rate_search`, None for a run that has not finished.
        path: Its suffix gives the format: PNG, SVG or PDF.
    """
    figure = rate_figure(points, search, size=(6, 4), dpi=120)
    figure.axes[0].set_title(title, fontsize=10, loc="left")
    figure.savefig(path)


def rate_figure(
    points: Sequence[Mapping[str, Any]],
    search: Mapping[str, Any] | None,
    size: tuple[float, float] = (3.4, 1.9),
    dpi: int = 100,
) -> "Figure":
    """Returns a figure of the held-out measure by learning rate, without a title.

    Bars are one standard error of the difference to the best rate; dotted lines are rates at which
    training diverged.

    Args:
        size: Width and height in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=dpi, layout="constrained")
    axes = figure.add_subplot()
    measured = [point for point in points if point["value"] is not None]
    rates = [point["rate"] for point in measured]
    values = [point["value"] for point in measured]
    errors = [point["error"] for point in measured]
    axes.errorbar(rates, values, yerr=errors, color="#1f77b4", marker="o", capsize=3)
    for point in points:
        if point["value"] is None:
            axes.axvline(point["rate"], color="#d62728", linestyle=":", label="diverged")
    measure = "value"
    if search is not None:
        measure = search["measure"]
        axes.axhline(search["untrained"], color="#7f7f7f", linestyle="--", label="untrained")
        axes.axvline(search["rate"], color="#2ca02c", label=f"used: {search['rate']:g}")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate", fontsize=8)
    axes.set_ylabel(f"held-out {measure}", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        unique = dict(zip(labels, handles, strict=True))
        axes.legend(unique.values(), unique.keys(), fontsize=8)
    return figure
