"""A line for each task, no wider than the terminal."""

import pytest
from transformers import TrainerState

from lorapar_cli.cli.display.tasks import Tasks
from lorapar_cli.cli.display.words import width_of
from lorapar_cli.events import Advance
from lorapar_cli.training.callbacks import StageCallback
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


@pytest.mark.parametrize("width", [56, 60, 79, 80, 99, 120, 200])
def test_a_training_shows_all_that_matters_in_as_many_lines_as_that_takes(clock, width):
    """What is left out is left out from the end."""
    tasks = Tasks(now=clock)
    first, second, *others = (f"{name} 0.125" for name in SHOWN.values())
    figures = [first, second, "12,345 tokens/s", "peak 41.2 GiB", *others]
    tasks.advance(Advance("train-rl", 1, 12_000, figures, course=[0.5]))
    clock.now = 5000.0
    course = [n / 24 for n in range(24)]
    tasks.advance(Advance("train-rl", 1100, 12_000, figures, course=course))
    for briefly in (False, True):
        lines = tasks.lines(width, running_only=briefly)
        assert len(lines) <= (3 if width < 72 else 2)
        assert all(len(line) <= width for line in lines)
        shown = [part.strip() for line in lines for part in line.split(" | ")]
        assert any(part.endswith("1,100 of 12,000") for part in shown)
        assert {"13:46:31 left", "clipped 0.125", "12,345 tokens/s", "peak 41.2 GiB"} <= set(shown)
        assert briefly or any(part.startswith("reward 0.125 ▁") for part in shown)
    assert tasks.figure().startswith("reward 0.125 ▁")


def test_speed_and_memory_come_before_the_figures_that_may_be_left_out():
    seen = []
    callback = StageCallback({"metrics.jsonl": Lines()}, "", "train-rl", SHOWN, seen.append, list)
    state = TrainerState(global_step=3, max_steps=9, log_history=[])
    logs = dict.fromkeys(SHOWN, 0.125) | {"num_tokens": 7}
    callback.on_log(None, state, None, logs=logs)
    names = [figure.split()[0] for figure in seen[0].figures]
    assert names[:3] == ["reward", "clipped", "peak"]
    assert sorted(names[3:]) == sorted([*SHOWN.values()][2:])


class Lines:
    def append(self, lines):
        assert lines
