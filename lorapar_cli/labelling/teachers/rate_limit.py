"""Limits on requests: the clock they wait by, the budget, the number of concurrent requests."""

import asyncio
import time


class Clock:
    """The clock that waits and timeouts are measured by; tests make it run faster.

    Args:
        speed: Seconds on this clock per real second.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed

    def now(self) -> float:
        """Returns the seconds since some fixed moment."""
        return time.monotonic() * self.speed

    async def sleep(self, seconds: float, halt: asyncio.Event) -> None:
        """Waits `seconds`, or until `halt` is set."""
        try:
            async with asyncio.timeout(seconds / self.speed):
                await halt.wait()
        except TimeoutError:
            return


REAL_TIME = Clock()


class Budget:
    """A limit on cost in US dollars, which requests in flight reserve a part of.

    Args:
        limit: Never exceeded; None for no limit.
        spent: Cost so far.
    """

    def __init__(self, limit: float | None, spent: float) -> None:
        self.limit, self.spent, self._held = limit, spent, 0.0
        self._settled = asyncio.Event()

    async def reserve(self, amount: float) -> bool:
        """Reserves money, waiting for other requests to settle; False if the limit forbids it."""
        if self.limit is None:
            return True
        while self.spent + self._held + amount > self.limit:
            if self._held <= 0:
                return False
            self._settled.clear()
            await self._settled.wait()
        self._held += amount
        return True

    def settle(self, amount: float, cost: float) -> None:
        """Releases what a request reserved and books what it cost."""
        self.spent += cost
        if self.limit is not None:
            self._held = max(0.0, self._held - amount)
            if self._held < 1e-12:
                self._held = 0.0
            self._settled.set()


class ConcurrencyLimit:
    """An adaptive number of concurrent requests, and a pause during which none may start.

    Args:
        maximum: Upper bound of the number.
        halt: Once set, nothing waits any longer.
    """

    def __init__(self, maximum: int, clock: Clock, halt: asyncio.Event) -> None:
        self.maximum, self.clock, self.halt = maximum, clock, halt
        self.allowed = float(maximum)
        self.in_flight = 0
        self._until = 0.0
        self._halved_at = float("-inf")
        self._freed = asyncio.Event()

    async def enter(self) -> None:
        """Waits until another request may start, or until `halt` is set, and counts it."""
        while True:
            wait = self.pause()
            if wait > 0 and not self.halt.is_set():
                await self.clock.sleep(wait, self.halt)
            elif self.halt.is_set() or self.in_flight < max(1, int(self.allowed)):
                self.in_flight += 1
                return
            else:
                self._freed.clear()
                await self._freed.wait()

    def pause(self) -> float:
        """Returns how many seconds remain until a request may start."""
        return max(0.0, self._until - self.clock.now())

    def leave(self) -> None:
        """Counts a request as ended."""
        self.in_flight -= 1
        self._freed.set()

    def succeeded(self) -> None:
        """Raises the limit after an answer: by one for each round of answers."""
        self.allowed = min(float(self.maximum), self.allowed + 1 / max(1.0, self.allowed))
        self._freed.set()

    def slow_down(self, started: float, wait: float) -> None:
        """Halves the limit after a 429 and starts no request for `wait` seconds.

        Requests that were in flight together are rate-limited together and halve it once.

        Args:
            started: When the request started.
        """
        if started > self._halved_at:
            self.allowed = max(1.0, self.allowed / 2)
            self._halved_at = self.clock.now()
        self._until = max(self._until, self.clock.now() + wait)
