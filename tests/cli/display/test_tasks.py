"""A line for each task, no wider than the terminal."""

import pytest

from lorapar_cli.cli.display.tasks import Tasks
from lorapar_cli.cli.display.words import width_of
from lorapar_cli.events import Advance
from lorapar_cli.training.grpo import SHOWN


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tasks(clock):
    return Tasks("utf-8", clock)


def test_a_task_without_a_total_is_over_once_another_begins(tasks, clock):
    tasks.advance(Advance("loading"))
    clock.now = 4
    assert tasks.lines(80, running_only=True) == ["loading | 0:04"]
    tasks.advance(Advance("cutting", 1, 4))
    clock.now = 8
    assert tasks.lines(80)[0] == "loading | 0:04"
    assert tasks.lines(80, running_only=True) == ["cutting | ━━╸        1 of 4 | 0:04"]
    tasks.advance(Advance("cutting", 2, 4))
    assert tasks.lines(80, running_only=True) == ["cutting | ━━━━━      2 of 4 | 0:08 left"]
    tasks.advance(Advance("cutting", 4, 4))
    assert tasks.lines(80, running_only=True) == []
    assert tasks.lines(80)[1] == "cutting | ━━━━━━━━━━ 4 of 4 | 0:04"


def test_the_last_task_ends_with_the_display(tasks, clock):
    tasks.advance(Advance("partitioning"))
    tasks.close()
    clock.now = 9
    assert tasks.lines(80) == ["partitioning | 0:00"]


def test_tasks_side_by_side_all_have_a_line(tasks):
    for name in ("gpt4o", "claude"):
        tasks.advance(Advance(name, 1, 9, ("2/s", "0 retries"), "waiting 0:20"))
    assert [line.split(" | ")[0] for line in tasks.lines(80, running_only=True)] == [
        "gpt4o",
        "claude",
    ]
    assert tasks.lines(80)[0].endswith("2/s | waiting 0:20 | 0 retries")


def test_the_figure_of_a_course_stands_apart(tasks):
    tasks.advance(Advance("train-sft", 1, 9, ("loss 0.5", "lr 1e-4"), course=[1.0, 0.5]))
    assert tasks.figure() == "loss 0.5 █▁"
    assert "loss" not in tasks.lines(80, running_only=True)[0]
    assert "lr 1e-4" in tasks.lines(80, running_only=True)[0]
    assert "loss 0.5 █▁" in tasks.lines(80)[0]


def test_a_stream_without_such_characters_gets_digits_alone(clock):
    tasks = Tasks("ascii", clock)
    tasks.advance(Advance("a", 1, 9, ("loss 1",), course=[1.0, 2.0]))
    assert tasks.figure() == "loss 1"
    "\n".join([*tasks.lines(80), *tasks.lines(80, running_only=True)]).encode("ascii")


@pytest.mark.parametrize("width", [1, 10, 20, 40, 80])
def test_no_line_is_wider_than_the_terminal(tasks, width):
    tasks.advance(Advance("漢字 " * 30, 3, 2000, ("loss 0.1",) * 9, "a remark", [1.0, 2.0]))
    tasks.advance(Advance("a\nb\x1b[2J", 1, 3))
    for line in (*tasks.lines(width), *tasks.lines(width, running_only=True)):
        assert width_of(line) <= width
        assert "\n" not in line
        assert "\x1b" not in line


def test_of_many_tasks_the_latest_are_shown(tasks):
    for number in range(20):
        tasks.advance(Advance(f"cell {number}", 1, 2))
    lines = tasks.lines(80)
    assert lines[0] == "14 more above"
    assert [line.split(" | ")[0] for line in lines[1:]] == [f"cell {n}" for n in range(14, 20)]


@pytest.mark.parametrize(("width", "has_room"), [(60, False), (80, True), (120, True)])
def test_a_long_course_leaves_room_for_the_clipped_share(clock, width, has_room):
    """What is left out of a line is left out from its end."""
    tasks = Tasks(now=clock)
    figures = [f"{name} 0.125" for name in SHOWN.values()]
    tasks.advance(Advance("train-rl", 1, 1000, figures, course=[0.5]))
    clock.now = 100.0
    course = [n / 24 for n in range(24)]
    tasks.advance(Advance("train-rl", 100, 1000, figures, course=course))
    (line,) = tasks.lines(width)
    assert len(line) <= width
    assert "100 of 1,000" in line
    assert "reward 0.125 ▁" in line
    assert ("clipped 0.125" in line) == has_room
