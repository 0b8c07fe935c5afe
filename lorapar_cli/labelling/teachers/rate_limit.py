"""How fast and how long: time, money and the number of requests in flight."""

import asyncio
import time


class Clock:
    """Time as the asking sees it; tests make it run faster.

    Args:
        speed: Seconds of asking time that pass in one real second.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed

    def now(self) -> float:
        """Returns the seconds since some fixed moment."""
        return time.monotonic() * self.speed

    async def sleep(self, seconds: float, halt: asyncio.Event) -> None:
        """Waits so many seconds, or until `halt` is set."""
        try:
            async with asyncio.timeout(seconds / self.speed):
                await halt.wait()
        except TimeoutError:
            return


class Budget:
    """Money that must not be passed: what was spent, and what requests in flight may yet cost."""

    def __init__(self, limit: float | None, spent: float) -> None:
        self.limit, self.spent, self._held = limit, spent, 0.0
        self._settled = asyncio.Event()

    async def reserve(self, amount: float) -> bool:
        """Sets money aside for a request, waiting for others to settle; False if it is too much."""
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
        """Gives back what was set aside and books what the request did cost."""
        self.spent += cost
        if self.limit is not None:
            self._held = max(0.0, self._held - amount)
            if self._held < 1e-12:
                self._held = 0.0
            self._settled.set()


class ConcurrencyLimit:
    """How many requests may be in flight now, and until when none may start."""

    def __init__(self, most: int, clock: Clock, halt: asyncio.Event) -> None:
        self.most, self.clock, self.halt = most, clock, halt
        self.allowed = float(most)
        self.in_flight = 0
        self._until = 0.0
        self._cut_at = float("-inf")
        self._freed = asyncio.Event()

    async def enter(self) -> None:
        """Waits until another request may start (or all is halted), and counts it."""
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
        """Returns for how many more seconds no request may start."""
        return max(0.0, self._until - self.clock.now())

    def leave(self) -> None:
        """A request has ended."""
        self.in_flight -= 1
        self._freed.set()

    def succeeded(self) -> None:
        """A request was answered: a whole round of these allows one more at a time."""
        self.allowed = min(float(self.most), self.allowed + 1 / max(1.0, self.allowed))
        self._freed.set()

    def slow_down(self, started: float, wait: float) -> None:
        """The endpoint said 429 to a request that started then: halve, and start none for a while.

        Requests that were in flight together say it together; they halve once.
        """
        if started > self._cut_at:
            self.allowed = max(1.0, self.allowed / 2)
            self._cut_at = self.clock.now()
        self._until = max(self._until, self.clock.now() + wait)
