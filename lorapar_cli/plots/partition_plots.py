"""Pictures of a partition; the only user of matplotlib."""

from pathlib import Path

import numpy as np

from lorapar_cli.elements.matrix_names import layer_label, matrix_place
from lorapar_cli.elements.top_sets import Ranking, importance_keys
from lorapar_cli.names import Flag, Region, System
from lorapar_cli.store.importance_file import ImportanceFile
from lorapar_cli.store.tensor_files import Tensors

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


def draw_partition(
    source: ImportanceFile,
    mask: Tensors,
    thetas: tuple[float, float],
    folder: Path,
) -> None:
    """Writes `scatter.png`, `layers.png` and `curve.png`.

    Args:
        source: The importance that was cut.
        mask: Name -> flags.
        thetas: Where System 1 and System 2 were cut.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _save(draw_scatter(source, mask, thetas), folder / "scatter.png")
    _save(draw_layers(mask), folder / "layers.png")
    _save(draw_curve(source, mask), folder / "curve.png")


def _save(figure, path: Path) -> None:
    # Without the library's version in it, equal input gives equal bytes.
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})


def _figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _sample_regions(source: ImportanceFile, mask: Tensors):
    """Returns region -> (S1, S2) importance of some elements, region sizes, and both L2 norms.

    The elements are every n-th of each region, so that a small region is seen beside a large one.
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
    return points, dict(zip(Region, sizes, strict=True)), np.sqrt(squares)


def draw_scatter(source: ImportanceFile, mask: Tensors, thetas: tuple[float, float]):
    """Returns importance of System 1 against System 2, L2-normalised, coloured by region.

    Differs: both axes are logarithmic, since importance spans many orders of magnitude.

    Source: LoRA-PAR Fig. 4.
    """
    points, sizes, norms = _sample_regions(source, mask)
    elements = sum(sizes.values())
    figure = _figure(6.4, 6)
    axes = figure.add_subplot()
    axes.set(xscale="log", yscale="log")
    for region, values in points.items():
        axes.scatter(
            *np.maximum(values / norms[:, None], 1e-300),
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
    title = (
        f"theta {thetas[0]:g}" if thetas[0] == thetas[1] else f"theta {thetas[0]:g}, {thetas[1]:g}"
    )
    axes.set_title(f"{title}: Jaccard of the two sets {sizes[Region.SHARED] / union:.3f}")
    axes.set_xlabel("importance for System 1 (L2-normalised)")
    axes.set_ylabel("importance for System 2 (L2-normalised)")
    legend = axes.legend(loc="upper left", markerscale=4, frameon=False)
    for handle in legend.legend_handles:
        handle.set_alpha(1)
    return figure


def draw_layers(mask: Tensors):
    """Returns heat maps of the share of active elements by layer and module, SFT beside RL."""
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
    figure = _figure(2 + 1.1 * len(modules), 1.8 + 0.32 * len(layers))
    panels = figure.subplots(1, 2, sharey=True)
    for panel, share, title in zip(panels, shares, ("active in SFT", "active in RL"), strict=True):
        image = panel.imshow(share, aspect="auto", vmin=0, vmax=np.nanmax(shares), cmap="viridis")
        panel.set_title(title)
        panel.set_xticks(range(len(modules)), modules, rotation=45, ha="right")
        panel.set_yticks(range(len(layers)), [layer_label(layer) for layer in layers])
    panels[0].set_ylabel("layer")
    figure.colorbar(image, ax=list(panels), label="% of the module's elements")
    return figure


def _held_share(source: ImportanceFile, mask: Tensors, system: System, bit: Flag) -> float:
    """Returns the share of a system's importance that the elements with a flag hold."""
    held = total = 0.0
    for name in source.names:
        flags, start = mask[name].ravel(), 0
        for piece in source.pieces(f"{system}/{name}"):
            chosen = (flags[start : start + piece.size] & bit) != 0
            held += float(piece[chosen].sum(dtype=np.float64))
            total += float(piece.sum(dtype=np.float64))
            start += piece.size
    return held / total


def draw_curve(source: ImportanceFile, mask: Tensors):
    """Returns cumulative importance over the share of elements, with each system's selected set.

    The set lies on the curve where it is the most important elements, and below it otherwise.
    """
    figure = _figure(6.4, 4.2)
    axes = figure.add_subplot()
    elements = sum(flags.size for flags in mask.values())
    for system, bit, region in (
        (System.SYSTEM1, Flag.TOP1, Region.S1_ONLY),
        (System.SYSTEM2, Flag.TOP2, Region.S2_ONLY),
    ):
        ranking = Ranking(
            lambda system=system: (
                importance_keys(piece)
                for name in source.names
                for piece in source.pieces(f"{system}/{name}")
            )
        )
        share, reached = ranking.curve()
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
