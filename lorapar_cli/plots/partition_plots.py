"""Plots of a partition: scatter of importance, active share by layer, cumulative importance."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorapar_cli.elements.matrix_names import layer_label, matrix_place
from lorapar_cli.elements.top_sets import Ranking, importance_keys
from lorapar_cli.names import Flag, Region, System
from lorapar_cli.store.importance_file import ImportanceFile
from lorapar_cli.store.tensor_files import Tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    Region.UNSELECTED: "#c9c9c9",
    Region.S1_ONLY: "#d62728",
    Region.S2_ONLY: "#1f77b4",
    Region.SHARED: "#8e44ad",
}
_LABELS = {
    Region.UNSELECTED: "unselected",
    Region.S1_ONLY: "S1 only",
    Region.S2_ONLY: "S2 only",
    Region.SHARED: "shared",
}
_DOTS = 30_000
_DPI = 150
# Inches: width of a figure, height of a heat map's row, of a line of labels, of a whole heat map on a page.
_WIDTH, _ROW, _LINE, _TALLEST = 6.4, 0.32, 0.16, 4.8
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
# Modules of a heat map that stands beside another one on a page.
_MOST_BESIDE = 9


def draw_partition(
    source: ImportanceFile,
    mask: Tensors,
    title: str,
    folder: Path,
) -> None:
    """Writes `scatter.png`, `layers.png` and `curve.png`.

    Args:
        source: The importance that was partitioned.
        mask: Name -> flags.
        title: How the sets were cut, `theta 0.9` for instance.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _save(draw_scatter(source, mask, title), folder / "scatter.png")
    _save(draw_layers(mask), folder / "layers.png")
    _save(draw_curve(source, mask), folder / "curve.png")


def _save(figure: "Figure", path: Path) -> None:
    # The library's version is left out, so that equal input gives equal bytes.
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _sample_regions(
    source: ImportanceFile, mask: Tensors
) -> tuple[dict[Region, np.ndarray], dict[Region, int], np.ndarray]:
    """Returns a sample of each region's elements, the sizes of the regions, and two norms.

    Returns:
        Region -> importance `[2, dots]` by System 1 and System 2 of every n-th element, with n of
        its own per region, so that small regions remain visible; region -> number of elements; L2
        norms `[2]` of the two systems' importance.
    """
    sizes = np.zeros(len(Region), np.int64)
    for flags in mask.values():
        sizes += np.bincount(flags.reshape(-1) & 3, minlength=len(Region))
    strides = np.maximum(1, -(-sizes // _DOTS))
    drawn: list[list[np.ndarray]] = [[] for _ in Region]
    squares = np.zeros(2)
    for name in source.names:
        pair = np.stack([source.read(f"{system}/{name}").reshape(-1) for system in System])
        squares += (pair.astype(np.float64) ** 2).sum(1)
        regions = mask[name].reshape(-1) & 3
        for place in range(len(Region)):
            inside = np.flatnonzero(regions == place)
            drawn[place].append(pair[:, inside[:: strides[place]]])
    points = {region: np.concatenate(drawn[place], 1) for place, region in enumerate(Region)}
    return points, dict(zip(Region, sizes.tolist(), strict=True)), np.sqrt(squares)


def draw_scatter(
    source: ImportanceFile, mask: Tensors, title: str, width: float = _WIDTH
) -> "Figure":
    """Returns a plot of System 1's importance against System 2's, L2-normalised, by region.

    Args:
        source: The importance that was partitioned.
        mask: Name -> flags.
        title: How the sets were cut.
        width: In inches; words are as large in a narrow figure, which a page makes smaller less.

    Differs: both axes are logarithmic, since importance spans many orders of magnitude.

    Source: LoRA-PAR Fig. 4.
    """
    points, sizes, norms = _sample_regions(source, mask)
    elements = sum(sizes.values())
    figure = _figure(width, width * 6 / _WIDTH)
    axes = figure.add_subplot()
    axes.set(xscale="log", yscale="log")
    for region, values in points.items():
        first, second = np.maximum(values / norms[:, None], 1e-300)
        axes.scatter(
            first,
            second,
            s=4,
            alpha=0.35,
            linewidths=0,
            color=COLOURS[region],
            label=f"{_LABELS[region]}, {100 * sizes[region] / elements:.1f} %",
            rasterized=True,
        )
    shown = np.concatenate(list(points.values()), 1) / norms[:, None]
    shown = shown[shown > 0]
    low, high = np.quantile(shown, 0.005), shown.max() * 2
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    union = elements - sizes[Region.UNSELECTED]
    jaccard = f"Jaccard of the two sets {sizes[Region.SHARED] / union:.3f}"
    axes.set_title(f"{title}: {jaccard}" if width >= _WIDTH else f"{title}\n{jaccard}", fontsize=11)
    axes.tick_params(axis="x", pad=6)
    axes.set_xlabel("importance for System 1 (L2-normalised)")
    axes.set_ylabel("importance for System 2 (L2-normalised)")
    legend = axes.legend(loc="upper left", markerscale=4, frameon=False)
    for handle in filter(None, legend.legend_handles):
        handle.set_alpha(1)
    return figure


def draw_layers(mask: Tensors, width: float | None = None) -> "Figure":
    """Returns heat maps of the share of active elements by layer and module, for SFT and RL.

    Args:
        mask: Name -> flags.
        width: In inches; None for as much as the modules' names take side by side.
    """
    places = {name: matrix_place(name) for name in mask}
    layers = sorted({place.layer for place in places.values()})
    modules = sorted({place.module for place in places.values()})
    counts = np.zeros((3, len(layers), len(modules)))
    for name, place in places.items():
        cell = layers.index(place.layer), modules.index(place.module)
        counts[0][cell] += mask[name].size
        for row, bit in ((1, Flag.SFT), (2, Flag.RL)):
            counts[row][cell] += np.count_nonzero(mask[name] & bit)
    with np.errstate(invalid="ignore"):
        shares = 100 * counts[1:] / counts[0]
    wide, tall = 2 + 1.1 * len(modules), _ROW * len(layers)
    below = width is not None and len(modules) > _MOST_BESIDE
    if width is not None:
        # Taller than a screen, it would be made smaller, and its words with it.
        tall = min(tall, _TALLEST / 2 if below else _TALLEST)
    rows = 2 if below else 1
    figure = _figure(min(wide, width or wide), rows * (1.8 + tall))
    panels = figure.subplots(rows, 3 - rows, sharey=True)
    step = _label_step(tall / len(layers))
    for panel, share, title in zip(panels, shares, ("active in SFT", "active in RL"), strict=True):
        image = panel.imshow(share, aspect="auto", vmin=0, vmax=np.nanmax(shares), cmap="viridis")
        panel.set_title(title)
        slant = {"rotation": 45, "ha": "right"} if width is None else {"rotation": 90}
        panel.set_xticks(range(len(modules)), modules, **slant)
        panel.set_yticks(
            range(0, len(layers), step), [layer_label(layer) for layer in layers[::step]]
        )
        panel.set_ylabel("layer" if below or panel is panels[0] else "")
    figure.colorbar(image, ax=list(panels), label="% of the module's elements")
    return figure


def _label_step(row: float) -> int:
    """Returns of how many rows one has its label, so that labels do not touch.

    Args:
        row: Height, in inches.
    """
    return next(step for step in _STEPS if step * row >= _LINE)


def _held_share(source: ImportanceFile, mask: Tensors, system: System, bit: Flag) -> float:
    """Returns the share of a system's importance in the elements with a flag, 0 to 1."""
    held = total = 0.0
    for name in source.names:
        flags, start = mask[name].ravel(), 0
        for piece in source.pieces(f"{system}/{name}"):
            chosen = (flags[start : start + piece.size] & bit) != 0
            held += float(piece[chosen].sum(dtype=np.float64))
            total += float(piece.sum(dtype=np.float64))
            start += piece.size
    return held / total


def _keys(source: ImportanceFile, system: System) -> Iterator[np.ndarray]:
    """Yields a system's importance as keys, piece by piece."""
    for name in source.names:
        for piece in source.pieces(f"{system}/{name}"):
            yield importance_keys(piece)


def draw_curve(source: ImportanceFile, mask: Tensors, width: float = _WIDTH) -> "Figure":
    """Returns a plot of cumulative importance over the share of elements, most important first.

    A dot marks each system's selected set: on the curve if it consists of the most important
    elements, otherwise below.

    Args:
        source: The importance that was partitioned.
        mask: Name -> flags.
        width: In inches.
    """
    figure = _figure(width, width * 4.2 / _WIDTH)
    axes = figure.add_subplot()
    elements = sum(flags.size for flags in mask.values())
    for system, bit, region in (
        (System.SYSTEM1, Flag.TOP1, Region.S1_ONLY),
        (System.SYSTEM2, Flag.TOP2, Region.S2_ONLY),
    ):
        share, reached = Ranking(partial(_keys, source, system)).curve()
        cut = 100 * sum(np.count_nonzero(flags & bit) for flags in mask.values()) / elements
        label = f"System {system[-1]}: {cut:.1f} % of elements selected"
        axes.plot(100 * share, 100 * reached, color=COLOURS[region], label=label)
        held = 100 * _held_share(source, mask, system, bit)
        axes.plot([cut], [held], "o", color=COLOURS[region])
        axes.vlines(cut, 0, held, color=COLOURS[region], linestyle=":")
    axes.set(xlim=(0, 100), ylim=(0, 101))
    axes.set_xlabel("elements, most important first (%)")
    axes.set_ylabel("cumulative importance (%)")
    axes.legend(loc="lower right", frameon=False)
    return figure
