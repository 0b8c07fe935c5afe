"""The running totals of a teacher, as they are displayed."""

import pytest

from lorapar_cli.labelling.teachers.tally import TeacherStats, format_duration, what_happened
from lorapar_cli.labelling.teachers.teacher import Price, Teacher

PRICED = Teacher("t", "api", "m", price=Price(1, 1))
UNPRICED = Teacher("t", "api", "m")


@pytest.mark.parametrize(
    ("stats", "seconds", "figures"),
    [
        (TeacherStats(PRICED, 100), 0.0, ["0.0/s", "0 retries", "$0.0000"]),
        (
            TeacherStats(PRICED, 100, done=25, retries=1, cost=0.01234),
            10.0,
            ["2.5/s", "1 retry", "$0.0123", "0:30 left"],
        ),
        (
            TeacherStats(UNPRICED, 7201, done=1, retries=2),
            1.0,
            ["1.0/s", "2 retries", "price unknown", "2:00:00 left"],
        ),
    ],
)
def test_figures(stats, seconds, figures):
    assert stats.figures(seconds) == figures


def test_durations():
    assert [format_duration(n) for n in (0, 59.9, 60, 3599, 3600)] == [
        *("0:00", "0:59", "1:00", "59:59", "1:00:00")
    ]


def test_what_happened_names_the_cause():
    assert what_happened(TeacherStats(PRICED, 1, down="gone")) == ", then it failed: gone"
    assert "budget" in what_happened(TeacherStats(PRICED, 1, over_budget=True))
    assert what_happened(TeacherStats(PRICED, 3, left_open=2)) == ", 2 failed after all retries"
