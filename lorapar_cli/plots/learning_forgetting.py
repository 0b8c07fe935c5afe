"""A picture of what cells of a comparison have learnt against what they have forgotten."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorapar_cli.store.atomic import atomic_file

_COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")
_FORMS = ("o", "s", "^", "D", "X")


@dataclass(frozen=True)
class Point:
    """One cell.

    Attributes:
        learnt: Its value on what it was trained for.
        kl: KL from the base model per token on the new task's prompts, in nats.
        neutral: Change of the loss on neutral text, nats per token.
    """

    cell: str
    learnt: float
    kl: float
    neutral: float


def _style(place: int) -> dict[str, Any]:
    """Returns color and form of the point at a place: no two are alike among the first 40."""
    color, form = _COLORS[place % len(_COLORS)], _FORMS[place // len(_COLORS) % len(_FORMS)]
    return {"color": color, "marker": form}


def draw_learning_forgetting(points: Mapping[str, Sequence[Point]], path: Path) -> None:
    """Writes an image with a row for each title: what was learnt against both kinds of forgetting.

    Args:
        points: Axis label -> cells.
        path: Its suffix gives the format: PNG, SVG or PDF.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2 * len(points)), dpi=120, layout="constrained")
    for row, (title, cells) in enumerate(points.items()):
        panels = (
            ("KL from the base model, nats per token", [each.kl for each in cells]),
            (
                "change of the loss on neutral text, nats per token",
                [each.neutral for each in cells],
            ),
        )
        for column, (label, forgotten) in enumerate(panels):
            axes = figure.add_subplot(len(points), 2, 2 * row + column + 1)
            for place, (each, x) in enumerate(zip(cells, forgotten, strict=True)):
                axes.scatter([x], [each.learnt], zorder=2, alpha=0.7, **_style(place))
            axes.set_xlabel(label, fontsize=8)
            axes.set_ylabel(title, fontsize=8)
            axes.grid(alpha=0.3)
            axes.tick_params(labelsize=8)
            axes.margins(0.15)
        # Names beside points would cover each other where cells are alike.
        # A name is text of the user's, never markup of formulas.
        axes.legend(
            axes.collections,
            [each.cell.replace("$", r"\$") for each in cells],
            loc="upper left",
            bbox_to_anchor=(1.02, 1),
            fontsize=8,
            frameon=False,
        )
    with atomic_file(path, "wb") as file:
        figure.savefig(file, format=path.suffix.removeprefix("."))
