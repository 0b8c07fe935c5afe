"""A course of figures as a line of text, and the time that is left."""

import math

import pytest

from lorapar_cli.cli.sparkline import sparkline, time_left


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([1.0], ""),
        ([0, 1], "▁█"),
        ([3, 3, 3], "▁▁▁"),
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([-2, math.nan, 2], "▁ █"),
        ([math.inf, 1.0], ""),
    ],
)
def test_the_lowest_value_is_lowest(values, expected):
    assert sparkline(values, "utf-8") == expected


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "no such encoding"])
def test_a_stream_without_such_characters_gets_none(encoding):
    assert sparkline([0, 1], encoding) == ""


@pytest.mark.parametrize(
    ("done", "total", "since", "seconds", "expected"),
    [
        (10, 20, 0, 42, "0:42"),
        (10, 100, 0, 60, "9:00"),
        (1, 101, 0, 39.1, "1:05:10"),
        # Of a run resumed at step 90, only what was done since says how fast it is.
        (92, 100, 90, 20, "1:20"),
        (0, 20, 0, 5, ""),
        (20, 20, 0, 5, ""),
        (5, None, 0, 5, ""),
    ],
)
def test_time_left(done, total, since, seconds, expected):
    assert time_left(done, total, since, seconds) == expected
