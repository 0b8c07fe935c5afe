"""Pictures are drawn from real files, and show the numbers that the manifest has."""

from itertools import pairwise

import numpy as np
import pytest

from lorapar_cli.names import System
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.store.importance_file import ImportanceFile
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import layout_fingerprint, read_tensors, write_tensors

plots = pytest.importorskip("lorapar_cli.plots.partition_plots")

SHAPES = {
    f"base_model.model.layers.{layer}.{module}.lora_{side}.weight": (4, 25)
    for layer in range(3)
    for module in ("q_proj", "up_proj")
    for side in "AB"
}


@pytest.fixture
def drawn(tmp_path):
    draw = np.random.default_rng(0)
    tensors = {
        f"{system}/{name}": draw.lognormal(0, 2, shape).astype(np.float32)
        for system in System
        for name, shape in SHAPES.items()
    }
    path = tmp_path / "importance.safetensors"
    write_tensors(path, tensors, {"fingerprint": layout_fingerprint(SHAPES)})
    options = PartitionOptions(theta=0.8, plot=True, importance=path)
    return path, partition(RunDir(tmp_path), options)


def test_three_pictures_are_part_of_the_result(drawn):
    _, outcome = drawn
    pictures = {f"plots/{name}.png" for name in ("scatter", "layers", "curve")}
    assert pictures <= set(outcome.manifest.outputs)
    assert all((outcome.folder / name).read_bytes()[:4] == b"\x89PNG" for name in pictures)


def test_the_scatter_says_shares_and_jaccard(drawn):
    path, outcome = drawn
    mask, _ = read_tensors(outcome.folder / "mask.safetensors")
    (axes,) = plots.draw_scatter(ImportanceFile(path), mask, "theta 0.8").axes
    counts = outcome.manifest.counts
    assert f"{outcome.manifest.metrics['jaccard']:.3f}" in axes.get_title()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    shared = 100 * counts["regions"]["shared"] / counts["elements"]
    assert f"shared, {shared:.1f} %" in labels
    assert sum(len(dots.get_offsets()) for dots in axes.collections) == counts["elements"]


def test_the_heat_map_has_each_layers_share(drawn):
    _, outcome = drawn
    mask, _ = read_tensors(outcome.folder / "mask.safetensors")
    panel = plots.draw_layers(mask).axes[0]
    shares = panel.images[0].get_array()
    for layer, row in enumerate(outcome.manifest.counts["by_layer"]):
        assert shares[layer].mean() == pytest.approx(100 * row["active_sft"] / row["elements"])


@pytest.mark.parametrize("layers", [1, 4, 32, 80, 200])
@pytest.mark.parametrize("modules", [2, 9, 14])
def test_a_heat_map_of_a_page_fits_a_screen_and_its_labels_do_not_touch(layers, modules):
    """A page would make a taller one smaller, and its words with it."""
    mask = {
        f"base_model.model.layers.{layer}.m{module}_proj.lora_A.weight": np.full(
            (2, 2), 4, np.uint8
        )
        for layer in range(layers)
        for module in range(modules)
    }
    figure = plots.draw_layers(mask, 5)
    width, height = figure.get_size_inches()
    assert width <= 5
    assert height <= 8.5
    figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 2
    for panel in panels:
        labels = panel.get_yticklabels() if panel.get_ylabel() else []
        boxes = sorted((each.get_window_extent() for each in labels), key=lambda box: box.y0)
        assert all(one.y1 <= other.y0 + 1 for one, other in pairwise(boxes))
        names = [each.get_window_extent() for each in panel.get_xticklabels()]
        assert all(one.x1 <= other.x0 + 1 for one, other in pairwise(names))
    assert panels[0].get_yticklabels()[0].get_text() == "0"


def test_the_curve_goes_through_the_cut(drawn):
    path, outcome = drawn
    mask, _ = read_tensors(outcome.folder / "mask.safetensors")
    axes = plots.draw_curve(ImportanceFile(path), mask).axes[0]
    curve, cut = axes.lines[0], axes.lines[1]
    reached = np.interp(cut.get_xdata()[0], curve.get_xdata(), curve.get_ydata())
    assert reached == pytest.approx(80, abs=1)
    # Within an element of theta, and exactly what the set holds.
    assert cut.get_ydata()[0] == pytest.approx(80, abs=1)


@pytest.mark.parametrize("select", ["top", "random"])
def test_other_selections_stand_where_they_are(drawn, tmp_path, select):
    path, _ = drawn
    other = PartitionOptions(theta=0.1, select=select, importance=path)
    outcome = partition(RunDir(tmp_path / "other"), other)
    mask, _ = read_tensors(outcome.folder / "mask.safetensors")
    axes = plots.draw_curve(ImportanceFile(path), mask).axes[0]
    curve, cut = axes.lines[0], axes.lines[1]
    reached = np.interp(cut.get_xdata()[0], curve.get_xdata(), curve.get_ydata())
    if select == "top":
        assert cut.get_ydata()[0] == pytest.approx(reached, abs=1)
        assert cut.get_ydata()[0] > 30
    else:
        assert cut.get_ydata()[0] < reached - 1
