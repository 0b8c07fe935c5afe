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
    assert [text.get_text() for text in left.texts] == ["paper", r"a \$50 cell_name"]
    assert left.get_ylabel() == "train-sft: loss on system1"


def test_equal_points_are_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        draw_learning_forgetting(POINTS, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
