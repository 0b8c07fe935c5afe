"""The board of a run: its rows at every width, and how it looks in a terminal."""

import signal
from pathlib import Path

import pytest

from lorapar_cli.cli.display.board import Board, State
from lorapar_cli.cli.display.figures import figures_of
from lorapar_cli.cli.display.tasks import Tasks
from lorapar_cli.cli.display.words import width_of
from lorapar_cli.events import Advance
from lorapar_cli.names import Stage
from lorapar_cli.stage_records.partition import PartitionRecord
from lorapar_cli.store.manifest import Manifest, Outcome
from tests.cli.shown import training_manifest
from tests.cli.terminal import run_in_terminal

# Two stages that work, tell of it in every way, and end as the last line says.
RUN = """
import logging, os, sys, time
from pathlib import Path
from lorapar_cli.cli import console
from lorapar_cli.cli.display.board import run_display
from lorapar_cli.cli.main import main
from lorapar_cli.cli.commands import doctor
from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Advance, Note
from lorapar_cli.names import Stage
from lorapar_cli.store.manifest import Manifest, Outcome

WORDS = " ".join(["sentence"] * 20)

def stage(name):
    with console.progress_display() as progress:
        progress(Advance("loading the base model"))
        progress(Note(f"{name} has a {WORDS}"))
        print("printed by a library")
        logging.warning("logged by a library")
        for done in range(1, 5):
            time.sleep(0.15)
            progress(Advance("working", done, 4, ("loss 0.5", "1/s"), course=[1.0, 0.5]))

def command():
    with run_display("lorapar demo in here", list(Stage)) as (display, progress):
        for each in (Stage.CLASSIFY, Stage.SCORE):
            display.begin(each)
            stage(each)
            {end}
            display.end(each, Outcome(Path("there"), Manifest(each, {}), fresh=False))
    console.stdout().print("report: here")

doctor.doctor = command
main(["doctor"])
"""


def play(end: str = "pass", **options):
    return run_in_terminal(["-c", RUN.replace("{end}", end)], **options)


def row(lines: list[str], stage: str) -> str:
    (found,) = [line for line in lines if line[3:].startswith(f"{stage} ")]
    return found


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (60, 20), (120, 40)])
def test_the_board_stands_below_all_that_is_printed(columns, rows):
    screen = play(columns=columns, rows=rows)
    assert screen.status == 0
    assert screen.lines[-1] == "report: here"
    text = screen.text
    assert text.count("lorapar demo in here") == 1
    assert "lorapar demo in here  2 of 6 stages, 0:" in text
    for told in ("classify has a sentence", "score has a sentence"):
        assert text.count(told) == 1
    for told in ("printed by a library", "WARNING:root:logged by a library"):
        assert text.count(told) == 2
    board = screen.lines[text.split("lorapar demo")[0].count("\n") :]
    assert "kept" in row(board, "classify")
    assert "left" in row(board, "eval")
    running = [frame for frame in screen.frames if "score      running" in frame]
    assert any("loss 0.5 █▁" in frame and "of 4" in frame for frame in running)
    assert all(row(frame.split("\n"), "classify").count("kept") for frame in running)


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_notes_break_between_words_and_no_line_of_the_board_wraps(columns):
    screen = play(columns=columns)
    words = {word for line in screen.lines for word in line.split() if "sent" in word}
    assert words == {"sentence"}
    # A row that the terminal had to continue would leave its rest on the screen.
    assert sum("left" in line for line in screen.lines) == 4


def test_an_interrupt_leaves_the_board_and_a_clean_terminal():
    screen = play("time.sleep(60)", interrupt_at="of 4")
    assert screen.status == 130
    assert screen.lines[-1] == "interrupted"
    assert "stopped" in row(screen.lines, "classify")
    assert not screen.cursor_hidden


@pytest.mark.parametrize("send", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_leaves_the_cursor(send):
    screen = play("time.sleep(60)", interrupt_at="of 4", send=send)
    assert screen.status == -send
    assert not screen.cursor_hidden


def test_an_error_stands_below_the_board():
    end = "raise LoraparError('a ' + WORDS, 'found ' + WORDS, 'do ' + WORDS)"
    screen = play(end, columns=50)
    assert screen.status == 1
    assert "failed" in row(screen.lines, "classify")
    below = screen.text.split("6 eval")[1]
    assert "error: a sentence" in below
    assert {word for word in below.split() if "sent" in word} == {"sentence"}


def test_a_bug_shows_its_traceback_below_the_board():
    screen = play("1 / 0")
    assert "failed" in row(screen.lines, "classify")
    assert "ZeroDivisionError" in screen.text.split("6 eval")[1]


def test_without_colour_there_is_none():
    coloured = play()
    assert "\x1b[32m" in coloured.raw
    plain = play(NO_COLOR="1")
    assert not any(f"\x1b[{style}3{n}m" in plain.raw for style in ("", "1;") for n in range(8))
    assert "6 eval" in plain.text


def test_a_terminal_that_cannot_be_redrawn_gets_lines():
    screen = play(TERM="dumb")
    assert "\x1b" not in screen.raw
    assert screen.frames == []
    assert "[2/6] score" in screen.lines
    assert "working | loss 0.5 █▁ | 1/s: 4 of 4" in screen.text


def test_processes_of_a_launch_do_not_draw_over_one_another():
    screen = play(WORLD_SIZE="2", RANK="0")
    assert screen.frames == []
    assert "[1/6] classify" in screen.lines


def board_of(clock) -> Board:
    tasks = Tasks("utf-8", clock)
    board = Board("lorapar run in " + "long/" * 30, list(Stage), tasks, clock)
    sft = training_manifest(Stage.TRAIN_SFT, "system1", {"system1": 5}, loss=1.5)
    board.begin(Stage.TRAIN_SFT)
    board.end(Stage.TRAIN_SFT, Outcome(Path("x"), sft))
    board.begin(Stage.TRAIN_RL)
    tasks.advance(Advance("train-rl", 3, 9, ("reward 0.5", "spread 1"), course=[0.1, 0.5]))
    return board


@pytest.mark.parametrize("width", [10, 40, 60, 71, 72, 80, 120])
def test_no_line_is_wider_than_the_terminal(width):
    lines = board_of(lambda: 5.0).lines(width, 40)
    assert max(width_of(text) for text, _ in lines) <= width
    if width >= 40:
        text = "\n".join(text for text, _ in lines)
        assert "mean loss 1.500, 3 steps" in text
        assert "reward 0.5 ▁█" in text


@pytest.mark.parametrize("height", [1, 2, 5, 8, 12])
def test_a_low_terminal_keeps_what_runs(height):
    for width in (60, 80):
        lines = [text for text, _ in board_of(lambda: 5.0).lines(width, height)]
        assert len(lines) <= height
        assert height < 2 or any("train-rl   running" in line for line in lines)


def test_states_and_times():
    now = [0.0]
    board = board_of(lambda: now[0])
    now[0] = 75.0
    board.leave(State.FAILED)
    lines = [text for text, _ in board.lines(80, 24)]
    assert lines[0].endswith("...  1 of 6 stages, 1:15")
    assert row(lines, "train-rl") == " 5 train-rl   failed      1:15  reward 0.5 ▁█"
    assert row(lines, "eval") == " 6 eval       left"


def accuracy(value) -> dict:
    return {"n": 4, "correct": 1, "accuracy": value, "interval": [0.0, 1.0]}


def evaluated(models) -> Manifest:
    counts = {"items": 8, "without_reference": 0, "tokens": {}}
    return Manifest(Stage.EVAL, {}, counts=counts, metrics={"models": models, "pairs": []})


def model(name, value, **by_system) -> dict:
    own = {"model": name, **accuracy(value), "completions": 8, "cut": 0}
    return own | {"by_system": {key: accuracy(each) for key, each in by_system.items()}}


def test_figures_of_an_evaluation_are_by_system_where_it_knows_them():
    rows = [model("base", 0.5, system1=0.25, system2=None), model("rl", 0.75, system1=0.5)]
    assert figures_of(Stage.EVAL, evaluated(rows)) == ["S1 25.0>50.0 %"]
    rows = [model("base", 0.5), model("rl", 0.75)]
    assert figures_of(Stage.EVAL, evaluated(rows)) == ["accuracy 50.0>75.0 %"]
    assert figures_of(Stage.EVAL, evaluated([])) == []


def test_figures_of_a_partition_are_shares():
    regions = {"unselected": 50, "s1_only": 10, "s2_only": 20, "shared": 20}
    counted = {"elements": 100, "regions": regions, "active_sft": 30, "active_rl": 40}
    manifest = Manifest(Stage.PARTITION, {})
    shares = {"jaccard": 0.4, "share_active_sft": 0.3, "share_active_rl": 0.4}
    manifest.keep(
        PartitionRecord(counted | {"by_kind": [], "by_layer": []}, shares | {"share_selected": 0.5})
    )
    assert figures_of(Stage.PARTITION, manifest) == [
        "S1-only 10.0%",
        "S2-only 20.0%",
        "shared 20.0%",
    ]


@pytest.mark.parametrize("stage", list(Stage))
def test_a_manifest_of_another_version_does_not_end_the_run(stage):
    (said,) = figures_of(stage, Manifest(stage, {}))
    assert said.startswith("figures cannot be read: ")
