"""Figures of a page: words that are large enough on a phone, whatever names they have."""

from itertools import combinations

import pytest

from lorapar_cli.tools.page.figures import NARROW, accuracy_figure
from tests.tools.finished_runs import model_row


@pytest.mark.parametrize(
    "name", ["base", "a run of mine: theta-0.9", "/data/ünïcode $2.5$/" + "long-name/" * 9]
)
@pytest.mark.parametrize("runs", [1, 12])
def test_accuracies_are_as_narrow_with_long_names_and_none_touches_another(name, runs):
    rows = [(f"{name}-{number}", model_row("sft", 50, number)) for number in range(runs)]
    figure = accuracy_figure(rows)
    assert figure.get_figwidth() == NARROW
    figure.draw_without_rendering()
    (axes,) = figure.axes
    words = [*axes.get_yticklabels(), *axes.texts]
    # The end of a name tells runs apart.
    assert len({each.get_text() for each in words}) == 2 * runs
    whole = figure.get_window_extent()
    boxes = [each.get_window_extent() for each in words]
    assert all(box.x0 >= whole.x0 - 1 and box.x1 <= whole.x1 + 1 for box in boxes)
    assert all(
        one.y1 <= other.y0 + 1 or other.y1 <= one.y0 + 1 for one, other in combinations(boxes, 2)
    )
    # An interval is drawn below its name, not through it.
    ends = [axes.transData.transform((0, line.get_ydata()[0]))[1] for line in axes.lines]
    assert not axes.texts or not any(box.y0 < y < box.y1 for box in boxes for y in ends)
