"""Speed, memory and course of a training run, for those who watch it."""

from itertools import pairwise

import pytest

from lorapar_cli.names import Artifact, Stage
from lorapar_cli.training import callbacks
from lorapar_cli.training.grpo import MaskedGRPOTrainer
from lorapar_cli.training.masking.masked_trainer import MaskedTrainer
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from lorapar_cli.training.watching.live import LiveFigures, StepClock, course, peak_bytes
from lorapar_cli.training.watching.watch import Watch
from tests.training.training_runs import lines
from tests.training.watching.watched_runs import rl, sft, write_validation

LONG = 1000.0


def test_tokens_a_second_are_those_since_the_last_step():
    live = LiveFigures()
    assert [f for f in live.figures({"num_tokens": 1000}, 10.0) if "tokens" in f] == []
    assert live.figures({"num_tokens": 4000}, 12.0)[0] == "1,500 tokens/s"
    # A count that starts over says nothing of speed.
    assert [f for f in live.figures({"num_tokens": 500}, 13.0) if "tokens" in f] == []
    assert live.figures({"num_tokens": 700}, 14.0)[0] == "200 tokens/s"


def test_the_clock_counts_from_the_end_of_what_lies_between_two_steps():
    times = iter([0.0, 2.0, 5.0, 9.0, 9.5])
    done = []
    clock = StepClock(lambda: next(times), lambda: done.append(clock.seconds))
    clock.stop()
    assert clock.seconds == 0
    clock.go_on()
    clock.stop()
    clock.stop()
    assert clock.seconds == 2
    # Logged at 5, saved until 9.
    clock.go_on()
    clock.go_on()
    clock.stop()
    assert clock.seconds == 2.5
    # The device had done its work before the time was taken, and had to only then.
    assert done == [0, 2]


@pytest.mark.usefixtures("reward_with_spread")
@pytest.mark.parametrize(
    ("train", "stage", "options"),
    [(train_sft, Stage.TRAIN_SFT, sft), (train_rl, Stage.TRAIN_RL, rl)],
)
def test_speed_counts_steps_and_generation_but_no_measuring_or_saving(
    run_dir, tmp_path, monkeypatch, train, stage, options
):
    now = [0.0]

    def takes(where, name, seconds):
        known = getattr(where, name)

        def slow(*args, **kwargs):
            now[0] += seconds
            return known(*args, **kwargs)

        monkeypatch.setattr(where, name, slow)

    monkeypatch.setattr(callbacks, "StepClock", lambda: StepClock(lambda: now[0]))
    takes(MaskedTrainer, "training_step", 1.0)
    takes(MaskedGRPOTrainer, "_generate_and_score_completions", 10.0)
    takes(Watch, "_forgetting", LONG)
    takes(Watch, "_validate", LONG)
    takes(callbacks, "mark_complete", LONG)
    events = []
    validation = write_validation(tmp_path)
    chosen = options(tmp_path, watch=2, eval_steps=1, save_steps=1, validation=validation)
    train(run_dir, chosen, progress=events.append)
    counts = [
        line["num_tokens"] for line in lines(run_dir, stage, Artifact.METRICS) if "loss" in line
    ]
    a_step = chosen.gradient_accumulation + (10 if stage is Stage.TRAIN_RL else 0)
    speeds = [
        figure
        for event in events
        for figure in getattr(event, "figures", [])
        if figure.endswith("tokens/s")
    ]
    assert len(counts) > 2
    assert speeds == [
        f"{(after - before) / a_step:,.0f} tokens/s" for before, after in pairwise(counts)
    ]


def test_memory_is_always_shown():
    before = peak_bytes()
    held = bytearray(64 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    assert peak_bytes() >= before
    assert LiveFigures().figures({}, 0.0)[-1].endswith(" GiB")
    assert peak_bytes() > 32 * 2**20


def test_the_course_is_of_the_latest_steps_that_have_the_figure():
    history = [{"loss": float(step)} for step in range(40)] + [{"validation_loss/system1": 1.0}]
    assert course(history, "loss") == [float(step) for step in range(16, 40)]
    assert course(history, "reward") == []
