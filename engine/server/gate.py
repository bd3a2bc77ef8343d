"""How much is done at once, and for whom."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from engine.server.limits import Limits
from engine.server.problems import Refused

Result = TypeVar("Result")
CALLER: ContextVar[str] = ContextVar("caller", default="")
"""Who sent the request that is worked on."""


class Gate:
    """Runs work in threads, so many at a time; some more may wait. One that is cancelled while it waits has gone.

    A place is held while the engine works, not while a body is read or an answer is sent: a slow client holds none.
    Callers share: one holds three quarters of the places at most and half of those that wait, and who waits is served
    by turns, a caller at a time.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._threads = anyio.CapacityLimiter(limits.searches)
        self._aside = anyio.CapacityLimiter(1)
        self._share = max(1, limits.searches - limits.searches // 4)
        self._working: Counter[str] = Counter()
        self._queues: OrderedDict[str, deque[anyio.Event]] = OrderedDict()

    @property
    def working(self) -> int:
        """Requests that hold a place."""
        return self._working.total()

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return sum(map(len, self._queues.values()))

    async def run(self, work: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """What ``work`` returns.

        Raises:
            Refused: too many wait already.
        """
        caller = CALLER.get()
        await self._enter(caller)
        try:
            return await anyio.to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._threads)
        finally:
            self._leave(caller)

    async def aside(self, work: Callable[[], Result]) -> Result:
        """What ``work`` returns, in a place of its own: whether the server is ready is told however busy it is."""
        return await anyio.to_thread.run_sync(work, limiter=self._aside)

    def _may(self, caller: str) -> bool:
        return self.working < self._limits.searches and self._working[caller] < self._share

    async def _enter(self, caller: str) -> None:
        queue = self._queues.get(caller)
        if queue is None and self._may(caller):
            self._working[caller] += 1
            return
        most, mine = self._limits.waiting, max(1, self._limits.waiting // 2)
        if self.waiting >= most or len(queue or ()) >= mine:
            detail = f"{self._limits.searches} requests are worked on and {most} wait, {mine} of one caller"
            raise Refused(
                429, "TooManyRequests", f"{detail}: that is the limit", hint="try again in a second", retry_after=1
            )  # fmt: skip
        turn = anyio.Event()
        self._queues.setdefault(caller, deque()).append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():  # its turn came as it went
                self._leave(caller)
            else:
                self._queues[caller].remove(turn)
                self._forget_empty(caller)
            raise

    def _leave(self, caller: str) -> None:
        self._working[caller] -= 1
        if not self._working[caller]:
            del self._working[caller]
        while (following := next((one for one in self._queues if self._may(one)), None)) is not None:
            self._working[following] += 1
            self._queues[following].popleft().set()
            self._queues.move_to_end(following)
            self._forget_empty(following)

    def _forget_empty(self, caller: str) -> None:
        if not self._queues[caller]:
            del self._queues[caller]
