"""The picture of learning against forgetting."""

import pytest

from lorapar_cli.plots.learning_forgetting import Point, draw_learning_forgetting

POINTS = {
    "train-sft: loss on system1": [
        Point("paper", 0.2, 0.10, -0.05),
        Point("a $50 cell_name", 0.3, 0.06, 0.16),
    ]
}


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_suffix_gives_the_format(tmp_path, suffix, start):
    path = tmp_path / "plots" / f"picture.{suffix}"
    draw_learning_forgetting(POINTS, path)
    assert path.read_bytes().startswith(start)


def test_every_cell_is_a_point_in_both_panels(tmp_path, monkeypatch):
    from matplotlib import figure

    drawn = []
    original = figure.Figure.savefig

    def kept(self, *arguments, **options):
        drawn.append(self)
        return original(self, *arguments, **options)

    monkeypatch.setattr(figure.Figure, "savefig", kept)
    draw_learning_forgetting(POINTS, tmp_path / "picture.png")
    left, right = drawn[0].axes
    assert [tuple(c.get_offsets()[0]) for c in left.collections] == [(0.10, 0.2), (0.06, 0.3)]
    assert [tuple(c.get_offsets()[0]) for c in right.collections] == [(-0.05, 0.2), (0.16, 0.3)]
    assert not left.texts
    names = [text.get_text() for text in right.get_legend().get_texts()]
    assert names == ["paper", r"a \$50 cell_name"]
    assert left.get_ylabel() == "train-sft: loss on system1"


def test_cells_that_are_alike_can_be_told_apart(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    looks = []
    original = Axes.scatter

    def seen(self, *arguments, **options):
        looks.append((options["color"], options["marker"]))
        return original(self, *arguments, **options)

    monkeypatch.setattr(Axes, "scatter", seen)
    cells = [Point(f"cell {n}", 0.2, 0.1, 0.0) for n in range(20)]
    draw_learning_forgetting({"train-sft": cells}, tmp_path / "picture.png")
    assert len(set(looks[:20])) == 20
    assert looks[20:] == looks[:20]


def test_equal_points_are_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        draw_learning_forgetting(POINTS, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
