"""The budget and the adaptive number of concurrent requests."""

import asyncio

import pytest

from lorapar_cli.labelling.teachers.rate_limit import Budget, Clock, ConcurrencyLimit

CLOCK = Clock(speed=1000)


def test_the_limit_halves_once_for_requests_in_flight_together_and_grows_by_one_a_round():
    async def story():
        limit = ConcurrencyLimit(16, CLOCK, asyncio.Event())
        for _ in range(16):
            await limit.enter()
        together = CLOCK.now()
        for _ in range(16):
            limit.slow_down(together - 1, wait=0)
            limit.leave()
        shrunk = limit.allowed
        for _ in range(8):
            limit.succeeded()
        grown = limit.allowed
        for _ in range(10_000):
            limit.succeeded()
        return shrunk, grown, limit.allowed

    shrunk, grown, full = asyncio.run(story())
    assert shrunk == 8
    assert grown == pytest.approx(9, abs=0.1)
    assert full == 16


def test_the_limit_never_falls_below_one():
    limit = ConcurrencyLimit(3, CLOCK, asyncio.Event())
    for _ in range(5):
        limit.slow_down(CLOCK.now() + 1, wait=0)
    assert limit.allowed == 1


def test_no_request_starts_during_a_pause_unless_everything_halts():
    async def story(halted):
        halt = asyncio.Event()
        limit = ConcurrencyLimit(2, Clock(speed=1), halt)
        limit.slow_down(float("inf"), wait=3600)
        waiting = asyncio.create_task(limit.enter())
        await asyncio.sleep(0)
        assert not waiting.done()
        assert 3500 < limit.pause() <= 3600
        if not halted:
            waiting.cancel()
            return
        halt.set()
        await asyncio.wait_for(waiting, timeout=60)
        assert limit.in_flight == 1

    for halted in (False, True):
        asyncio.run(story(halted))


def test_a_budget_is_never_exceeded_and_waits_for_what_is_reserved():
    async def story():
        budget = Budget(limit=1.0, spent=0.2)
        assert await budget.reserve(0.5)
        waiting = asyncio.create_task(budget.reserve(0.5))
        await asyncio.sleep(0)
        assert not waiting.done()
        # Cheaper than its worst case, so that the other request fits.
        budget.settle(0.5, 0.1)
        assert await waiting
        budget.settle(0.5, 0.5)
        assert budget.spent == pytest.approx(0.8)
        assert not await budget.reserve(0.3)
        assert await budget.reserve(0.2)

    asyncio.run(story())


def test_without_a_limit_everything_is_granted_and_counted():
    budget = Budget(limit=None, spent=0.0)
    assert asyncio.run(budget.reserve(1e9))
    budget.settle(1e9, 2.0)
    assert budget.spent == 2.0
