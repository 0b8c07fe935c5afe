"""A coroutine runs to its end wherever it is called, also below a running event loop."""

import asyncio
import contextvars
import signal
import threading

import pytest

from lorapar_cli.labelling.classify import classify
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.rewards.load import call_reward
from lorapar_cli.waiting import run_to_end
from tests.labelling.classify_parts import running_server, write_corpus

place = contextvars.ContextVar("place", default="nowhere")


async def work(result, error=None):
    await asyncio.sleep(0)
    if error:
        raise error
    return result, place.get()


def in_a_cell(function):
    """Returns what a function returns that a notebook's cell calls."""

    async def cell():
        place.set("here")
        return function()

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(cell())
    finally:
        loop.close()


def test_results_errors_and_context_come_through():
    assert run_to_end(work(1)) == (1, "nowhere")
    assert in_a_cell(lambda: run_to_end(work(2))) == (2, "here")
    for call in (lambda function: function(), in_a_cell):
        with pytest.raises(ValueError, match="mine"):
            call(lambda: run_to_end(work(3, ValueError("mine"))))


def test_an_interrupt_cancels_the_coroutine():
    steps = []

    async def endless():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # Longer than the caller needs to go on without waiting for it.
            await asyncio.sleep(0.2)
            steps.append("cleaned up")
            raise

    with pytest.raises(KeyboardInterrupt):
        in_a_cell(lambda: run_to_end(endless()))
    assert steps == ["cleaned up"]


def test_a_second_interrupt_does_not_wait():
    release = threading.Event()
    ended = threading.Event()

    async def stubborn():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            await asyncio.to_thread(release.wait)
            ended.set()

    try:
        with pytest.raises(KeyboardInterrupt):
            in_a_cell(lambda: run_to_end(stubborn()))
        assert not ended.is_set()
    finally:
        release.set()
    assert ended.wait(10)


def test_a_notebook_asks_teachers_and_calls_rewards_that_are_coroutines(tmp_path, monkeypatch):
    async def length(completions, references):
        await asyncio.sleep(0)
        return [float(len(each)) for each in completions]

    assert in_a_cell(lambda: call_reward("length", length, ["a", "bc"], [None, None])) == [1, 2]
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    data = write_corpus(tmp_path / "data.jsonl")
    with running_server() as server:
        options = ClassifyOptions(
            data=(str(data),), teachers=(server.teacher("a"),), model="embedded", limit=8
        )
        outcome = in_a_cell(lambda: classify(RunDir(tmp_path / "run"), options))
        assert server.stats()["requests"]
    assert outcome.manifest.counts["records"] == 8
