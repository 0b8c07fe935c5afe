"""Fitting a grid into a time."""

import pytest

from lorapar_cli.comparison.planning.budget import (
    Plan,
    describe_left_out,
    fit_to_first_cell,
    fit_to_first_training,
    read_time,
)
from lorapar_cli.errors import UsageError

WANTED = Plan(seeds=5, rates=7, cells=6)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("45s", 45), ("1h1m1s", 3661), (" 2h ", 7200)],
)
def test_times(text, seconds):
    assert read_time(text) == seconds


@pytest.mark.parametrize("text", ["", "0m", "2", "2 h", "-1h", "h", "30m2h", "1.5h", "1" * 10**6])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UsageError, match="is not a time"):
        read_time(text)


# A search training of 10 s at half length: a cell of 4.5 rates and 5 seeds takes 145 s.
@pytest.mark.parametrize(
    ("budget", "plan"),
    [
        (6 * 145, Plan(5, 7, 6)),
        (6 * 145 - 1, Plan(5, 3, 6)),  # 3 rates and 5 seeds: 130 s
        (6 * 130 - 1, Plan(4, 3, 6)),
        (6 * 50, Plan(1, 3, 6)),
        (6 * 50 - 1, Plan(1, 3, 5)),
        (3 * 50, Plan(1, 3, 3)),
        (1, Plan(1, 3, 2)),
    ],
)
def test_rates_then_seeds_then_cells_are_left_out(budget, plan):
    assert fit_to_first_training(WANTED, budget, 10, 0.5, 1) == plan


def test_side_by_side_fits_more():
    assert fit_to_first_training(WANTED, 3 * 145, 10, 0.5, 2) == WANTED


def test_short_ladders_are_not_lengthened():
    wanted = Plan(5, 2, 6)
    assert fit_to_first_training(wanted, 6 * 120, 10, 0.5, 1) == wanted
    assert fit_to_first_training(wanted, 6 * 100, 10, 0.5, 1) == Plan(4, 2, 6)


@pytest.mark.parametrize(
    ("budget", "cells"), [(1000, 6), (500, 6), (499, 5), (250, 3), (100, 2), (0, 2), (-50, 2)]
)
def test_cells_after_the_first(budget, cells):
    assert fit_to_first_cell(WANTED, 6, budget, 100, 1) == Plan(5, 7, cells)


@pytest.mark.parametrize(("budget", "cells"), [(500, 6), (300, 4), (0, 2)])
def test_more_cells_fit_than_the_first_training_let_expect(budget, cells):
    assert fit_to_first_cell(Plan(1, 3, 2), 6, budget, 100, 1) == Plan(1, 3, cells)


def test_what_is_left_out_is_said():
    names = ["paper", "random", "full", "rank", "bottom", "movement"]
    assert describe_left_out(WANTED, WANTED, names) == []
    assert describe_left_out(WANTED, Plan(2, 3, 4), names) == [
        "learning rates beyond 3 per cell, of at most 7",
        "3 of 5 seeds",
        "cells `bottom`, `movement`",
    ]
