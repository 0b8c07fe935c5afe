"""Figures as SVG that takes its colours from the page around it, light or dark."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lorapar_cli.stage_records.evaluation import ModelRow
from lorapar_cli.tools.markdown import title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A colour that nothing draws with, which stands for the page's text colour until the SVG is written.
_TEXT = "#0a0b0c"
_COLOURS = ("#8a8a8a", "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")
_DPI = 110
# Of the screen for each inch of a figure.
_PIXELS = 115
# Inches: of a figure whose words are large enough on a phone; of a row without and with its name above it.
NARROW = 5
_ALONE, _WITH_LABEL = 0.32, 0.48
_SHORT_LABEL, _LONG_LABEL = 20, 54


@dataclass(frozen=True)
class Picture:
    """A figure of a page.

    Attributes:
        svg: Markup of one `svg` element.
        alt: What it shows, for whoever does not see it; also its caption.
        small: Whether it shares its line with others where there is room.
    """

    svg: str
    alt: str
    small: bool = False


def draw(make: "Callable[[], Figure]", alt: str, *, small: bool = False) -> Picture:
    """Returns the figure that `make` draws; the same one gives the same bytes."""
    import matplotlib

    style: Any = {
        "svg.fonttype": "none",
        # Of the ids inside: figures of one page must not share any.
        "svg.hashsalt": alt,
        "font.family": "sans-serif",
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "legend.facecolor": "none",
    }
    style |= dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _TEXT
    )
    with matplotlib.rc_context(style):
        file = io.StringIO()
        figure = make()
        figure.savefig(file, format="svg", dpi=_DPI, metadata={"Date": None, "Creator": None})
    widest = round(_PIXELS * figure.get_figwidth())
    return Picture(_inline(file.getvalue(), alt, widest), alt, small)


def _inline(document: str, alt: str, widest: int) -> str:
    """Returns an SVG file as an element of a page: as wide as its place, in the page's colours.

    Args:
        widest: Pixels that it never exceeds: its words would be larger than the page's.
    """
    from html import escape

    svg = document[document.index("<svg") :]
    head, rest = svg.split(">", 1)
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    before, _, described = rest.partition("<metadata>")
    rest = before + described.partition("</metadata>")[2]
    head += f' role="img" aria-label="{escape(alt)}" style="max-width:min({widest}px,100%)"'
    return f"{head}>{rest}".replace(_TEXT, "currentColor").strip()


def accuracy_figure(rows: Sequence[tuple[str, ModelRow]]) -> "Figure":
    """Returns each model's accuracy by system, with its interval.

    Args:
        rows: Label and row of each model, from top to bottom.
    """
    from matplotlib.figure import Figure

    groups = _groups(rows[0][1])
    names = [
        [f"{label}, {group}" if len(groups) > 1 else label for label, _ in rows] for group in groups
    ]
    is_long = max(len(name) for each in names for name in each) > _SHORT_LABEL
    height = 0.7 + (_WITH_LABEL if is_long else _ALONE) * len(rows) * len(groups)
    figure = Figure(figsize=(NARROW, max(1.8, height)), layout="constrained")
    axes = figure.add_subplot()
    labels = []
    for number, group in enumerate(groups):
        for place, (_, row) in enumerate(rows):
            part = _groups(row).get(group)
            y = -(number * (len(rows) + 0.6) + place)
            labels.append((y, names[number][place]))
            if part is None or part["accuracy"] is None:
                continue
            low, high = (100 * end for end in part["interval"])
            colour = _COLOURS[place % len(_COLOURS)]
            axes.plot([low, high], [y, y], color=colour, linewidth=2)
            axes.plot([100 * part["accuracy"]], [y], "o", color=colour)
    _label_rows(axes, labels, is_long)
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy (%), 95 % intervals")
    axes.grid(axis="x", alpha=0.3)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _label_rows(axes: "Axes", labels: Sequence[tuple[float, str]], is_long: bool) -> None:
    """Writes the names of rows beside them, long ones above them."""
    # Names of runs and models are no formulas.
    names = [label.replace("$", r"\$") for _, label in labels]
    if not is_long:
        axes.set_yticks([y for y, _ in labels], names)
        return
    axes.set_yticks([])
    for (y, whole), name in zip(labels, names, strict=True):
        shown = name if len(whole) <= _LONG_LABEL else f"...{name[-_LONG_LABEL:]}"
        axes.text(0, y + 0.25, shown, ha="left", va="bottom")
    axes.set_ylim(min(y for y, _ in labels) - 0.4, 0.9)


def _groups(row: ModelRow) -> Mapping[str, Any]:
    """Returns a model's accuracy by group, or the whole one where there are no groups."""
    found = row.get("by_system", {}) | row.get("by_group", {})
    return {title_of(name): part for name, part in found.items()} or {"all": row}
