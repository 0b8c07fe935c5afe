"""Training curves: the panels of what was logged, and their smoothing."""

import pytest

from lorapar_cli.names import Region
from lorapar_cli.plots.partition_plots import COLOURS
from lorapar_cli.plots.training_curves import draw_curves, panel_figure, smooth

METRICS = [
    {"step": n, "loss": 1 / n, "learning_rate": 1e-4, "note": "x"}
    | ({"reward": 0.1 * n} if n % 2 else {})
    for n in range(1, 9)
]


def test_smoothing_is_the_naive_weighted_mean():
    values = [3.0, -1.0, 4.0, 1.5]
    for n in range(1, 5):
        weights = [0.9 ** (n - 1 - i) for i in range(n)]
        naive = sum(w * v for w, v in zip(weights, values, strict=False)) / sum(weights)
        assert smooth(values)[n - 1] == pytest.approx(naive)
    assert smooth([]) == []


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_the_suffix_gives_the_format(tmp_path, suffix, start):
    path = tmp_path / f"curves.{suffix}"
    titles = draw_curves(METRICS, "train-rl, run", path)
    assert titles == ["loss", "mean reward", "learning rate"]
    assert path.read_bytes().startswith(start)


def test_panels_show_the_logged_values_and_their_mean(tmp_path, monkeypatch):
    from matplotlib import figure

    drawn = []

    class Kept(figure.Figure):
        def savefig(self, *args, **kwargs):
            drawn.append(self)

    monkeypatch.setattr(figure, "Figure", Kept)
    draw_curves(METRICS, "train-rl, run", tmp_path / "curves.png")
    panels = {axes.get_title(loc="left"): axes.lines for axes in drawn[0].axes}
    values, mean = panels["mean reward"]
    assert values.get_xdata().tolist() == [1, 3, 5, 7]
    assert values.get_ydata() == pytest.approx([0.1, 0.3, 0.5, 0.7])
    assert mean.get_ydata() == pytest.approx(smooth([0.1, 0.3, 0.5, 0.7]))
    # A schedule has no noise to smooth.
    assert len(panels["learning rate"]) == 1


def test_what_is_measured_has_a_line_for_each_system_and_no_mean(tmp_path, monkeypatch):
    from matplotlib import figure

    drawn = []

    class Kept(figure.Figure):
        def savefig(self, *args, **kwargs):
            drawn.append(self)

    monkeypatch.setattr(figure, "Figure", Kept)
    lines = [
        {"step": n, "validation_loss/system1": 1.0 - n, "validation_loss/a$b": n + 0.5}
        for n in (0, 4)
    ] + [{"step": 4, "loss": 1.0, "neutral_loss": 2.0}]
    titles = draw_curves(lines, "run", tmp_path / "x.png")
    assert titles == ["loss", "loss on the validation part", "loss on neutral text"]
    panel = drawn[0].axes[1]
    assert {tuple(line.get_ydata()) for line in panel.get_lines()} == {(1.0, -3.0), (0.5, 4.5)}
    assert [list(line.get_xdata()) for line in panel.get_lines()] == [[0, 4]] * 2
    # One system has one colour in every picture.
    colours = {line.get_label(): line.get_color() for line in panel.get_lines()}
    assert colours["system1"] == COLOURS[Region.S1_ONLY]
    assert colours[r"a\$b"] not in COLOURS.values()
    assert {text.get_text() for text in panel.get_legend().get_texts()} == {"system1", r"a\$b"}
    assert len(drawn[0].axes[2].get_lines()) == 1


def test_a_single_step_is_a_point_and_steps_are_whole():
    lines = [{"step": 1, "loss": 2.0, "learning_rate": 0.1}]
    for key in ("loss", "learning_rate"):
        (axes,) = panel_figure(lines, key).axes
        assert {line.get_marker() for line in axes.lines} == {"o"}
    (axes,) = panel_figure([{"step": n, "loss": float(n)} for n in (1, 2, 3)], "loss").axes
    assert {line.get_marker() for line in axes.lines} <= {"", "None"}
    assert all(tick == round(tick) for tick in axes.get_xticks())
