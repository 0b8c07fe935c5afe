"""Speed, memory and course of a training run, for those who watch it."""

from lorapar_cli.training.watching.live import LiveFigures, course, peak_bytes


def test_tokens_a_second_are_those_since_the_last_step():
    times = iter([10.0, 12.0, 13.0, 14.0])
    live = LiveFigures(lambda: next(times))
    assert [f for f in live.figures({"num_tokens": 1000}) if "tokens" in f] == []
    assert live.figures({"num_tokens": 4000})[0] == "1,500 tokens/s"
    # A count that starts over says nothing of speed.
    assert [f for f in live.figures({"num_tokens": 500}) if "tokens" in f] == []
    assert live.figures({"num_tokens": 700})[0] == "200 tokens/s"


def test_memory_is_always_shown():
    before = peak_bytes()
    held = bytearray(64 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    assert peak_bytes() >= before
    assert LiveFigures().figures({})[-1].endswith(" GiB")
    assert peak_bytes() > 32 * 2**20


def test_the_course_is_of_the_latest_steps_that_have_the_figure():
    history = [{"loss": float(step)} for step in range(40)] + [{"validation_loss/system1": 1.0}]
    assert course(history, "loss") == [float(step) for step in range(16, 40)]
    assert course(history, "reward") == []
